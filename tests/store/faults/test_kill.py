"""SIGKILL."""

from __future__ import annotations

import signal

import pytest

from .places import Places
from .points import SignalAt
from .sweep import Case, Start, sweep


@pytest.mark.slow
def test_killed_at_every_failpoint(places: Places, start: Start) -> None:
    """Wherever a process is killed, the next one finishes the run, and makes no finished call again."""

    def is_killed(case: Case) -> bool:
        code = case.child.wait()
        if case.child.reached() is None:
            case.child.finish()
            return False
        assert code == -signal.SIGKILL
        return True

    assert sweep(places, start, lambda number, _place: SignalAt(number=number, signal=signal.SIGKILL), is_killed) > 100
