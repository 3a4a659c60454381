"""Nothing keeps values alive that cannot come any more."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from marbles import Basin
from reactivex import Observable
from reactivex.subject import Subject

from rxpipe.operators import RateLimiter, batch, overflow, rate_limit, timeout, unbatch


class Value(list[Any]):
    """A list, so that `unbatch` takes it, that can be weakly referenced."""


Holding = Callable[[Observable[Any]], Observable[Any]]
HOLDING: list[Holding] = [
    batch(1),
    unbatch(),
    timeout(60),
    rate_limit(RateLimiter(1, 3600)),
    overflow("drop_oldest", 10),
]


@pytest.mark.parametrize("operator", HOLDING, ids=["batch", "unbatch", "timeout", "rate_limit", "overflow"])
def test_disposal_lets_go_of_what_is_held(operator: Holding) -> None:
    """An operator that was disposed holds nothing, though its subscription is kept."""
    source, basin = Subject[Any](), Basin[Any](0)
    basin.fill_from(source.pipe(operator))
    value = Value([Value()])
    inner = value[0]
    held = [weakref.ref(value), weakref.ref(inner)]
    source.on_next(value)
    del value, inner
    gc.collect()
    assert [ref for ref in held if ref() is not None]
    basin.dispose()
    gc.collect()
    assert [ref for ref in held if ref() is not None] == []
    assert basin.messages == []
