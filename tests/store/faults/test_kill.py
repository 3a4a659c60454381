"""SIGKILL."""

from __future__ import annotations

import signal

import pytest

from .places import Place, Places
from .points import APART, SignalAt
from .sweep import SHARED, Case, Start, sweep
from .work import Fault


def is_killed(case: Case) -> bool:
    code = case.child.wait()
    if case.child.reached() is None:
        case.child.finish()
        return False
    assert code == -signal.SIGKILL
    return True


@pytest.mark.slow
@pytest.mark.parametrize("part", SHARED)
def test_killed_while_it_begins(places: Places, start: Start, part: int) -> None:
    """Wherever a process is killed that makes all tables, the next one finishes the run."""

    def fault(number: int, _place: Place) -> Fault:
        return SignalAt(number=number, signal=signal.SIGKILL, what=APART)

    assert sweep(places, start, fault, is_killed, part=part, opening=True) > 50


@pytest.mark.slow
@pytest.mark.parametrize("part", SHARED)
def test_killed_once_it_has_begun(prepared: Places, start: Start, part: int) -> None:
    """Wherever it is killed afterwards, no finished call is made again."""

    def fault(number: int, _place: Place) -> Fault:
        return SignalAt(number=number, signal=signal.SIGKILL, what=APART, once_started=True)

    assert sweep(prepared, start, fault, is_killed, part=part) > 50
