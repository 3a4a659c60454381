"""Simulations collect garbage rarely, and leave the process as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from rxpipe.foresight.virtual.rare_collections import rare_collections


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_until_the_last_one_has_ended() -> None:
    """Two at once, of which the first one ends first; also after an error."""
    gc.set_threshold(700, 10, 10)
    first, second = rare_collections(), rare_collections()
    first.__enter__()
    assert gc.get_threshold() == (20_000, 10, 10)
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == (20_000, 10, 10)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)
    with pytest.raises(KeyError), rare_collections():
        raise KeyError
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [(0, 10, 10), (50_000, 5, 5)])
def test_a_process_that_collects_none_or_more_rarely_keeps_to_that(own: tuple[int, int, int]) -> None:
    """Its own threshold stands."""
    gc.set_threshold(*own)
    with rare_collections():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own
