"""SIGTERM."""

from __future__ import annotations

import signal

import pytest

from .children import Servant
from .places import Place, Places
from .points import APART, SignalAt
from .sweep import CALLS, SHARED, Case, sweep
from .work import INTERRUPTED, Fault


@pytest.mark.slow
@pytest.mark.parametrize("part", SHARED)
def test_terminated_at_every_failpoint(prepared: Places, servant: Servant, part: int) -> None:
    """Whenever SIGTERM comes to a run, it ends in order, and the next one makes no call again."""

    def has_ended_in_order(case: Case) -> bool:
        code = case.child.wait()
        if case.child.reached() is None:
            case.child.finish()
            return False
        assert code == INTERRUPTED
        snapshot = case.watch.snapshot()
        assert snapshot.states()["running"] == 0
        assert [worker.ended_as for worker in snapshot.workers] == ["stopped"]
        return True

    def made_once(case: Case) -> None:
        snapshot = case.watch.snapshot()
        assert all(item.crashes == 0 for item in snapshot.items.values())
        assert case.watch.ledger.counts() == CALLS

    def fault(number: int, _place: Place) -> Fault:
        return SignalAt(number=number, signal=signal.SIGTERM, what=APART)

    assert sweep(prepared, servant, fault, has_ended_in_order, then=made_once, part=part) > 60
