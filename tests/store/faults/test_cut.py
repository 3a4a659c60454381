"""Connections that are cut."""

from __future__ import annotations

import pytest

from .children import Servant
from .cuts import CutAtCommit
from .places import Place, Places
from .sweep import CALLS, SHARED, Case, sweep
from .work import GAVE_UP, Fault


@pytest.mark.slow
@pytest.mark.parametrize("part", SHARED)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_cut_at_every_commit(places: Places, servant: Servant, part: int, *, after: bool) -> None:
    """A commit that fails, or is not answered, is made again and changes nothing then; at the start, a run ends."""

    def has_given_up(case: Case) -> bool:
        if case.child.wait() == GAVE_UP:
            assert "started" not in case.child.said().splitlines()
            return True
        case.child.finish()
        return False

    def made_once(case: Case) -> None:
        snapshot = case.watch.snapshot()
        assert all(item.crashes == 0 for item in snapshot.items.values())
        assert case.watch.ledger.counts() == CALLS

    def fault(number: int, place: Place) -> Fault:
        return CutAtCommit(url=place.url, number=number, after=after)

    assert sweep(places, servant, fault, has_given_up, then=made_once, part=part) > 10
