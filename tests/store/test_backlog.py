"""How much may be lost by a kill: when calls wait for commits, and when they go on."""

from __future__ import annotations

from rxpipe.store.commits.backlog import Backlog


class Time:
    def __init__(self) -> None:
        self.now = 0.0


def backlog(*, few: float = 2, most: int = 10) -> tuple[Backlog, Time, list[str]]:
    """A backlog, its clock, and who was woken."""
    time = Time()
    return Backlog(few=few, most=most, window=0.05, now=lambda: time.now), time, []


def add(held: Backlog, count: int) -> None:
    for _ in range(count):
        held.add(is_result=True)


def may_begin(held: Backlog, woken: list[str]) -> bool:
    return held.may_begin(lambda: woken.append("woken"))


def test_calls_wait_while_many_results_are_late() -> None:
    """Until they are committed; then whoever waits is woken, once."""
    held, time, woken = backlog()
    add(held, 3)
    assert may_begin(held, woken)
    time.now = 0.3
    assert not may_begin(held, woken)
    held.committed(3, 3)
    assert woken == ["woken"]
    assert may_begin(held, woken)
    add(held, 1)
    held.committed(1, 1)
    assert woken == ["woken"]


def test_few_late_results_hold_nothing_up() -> None:
    """As with slow calls and a distant server: a kill costs more running calls than these."""
    held, time, woken = backlog()
    add(held, 2)
    time.now = 1.9
    assert may_begin(held, woken)


def test_a_silent_database_holds_all_calls_up() -> None:
    """However few results wait for it."""
    held, time, woken = backlog(few=1000)
    add(held, 1)
    time.now = 2.1
    assert not may_begin(held, woken)
    held.committed(1, 1)
    assert woken == ["woken"]


def test_the_number_is_bounded() -> None:
    """However young they are."""
    held, _, woken = backlog()
    add(held, 10)
    assert not may_begin(held, woken)


def test_nobody_is_woken_while_what_is_left_is_late() -> None:
    """The next commit wakes them."""
    held, time, woken = backlog()
    add(held, 2)
    time.now = 0.1
    add(held, 3)
    time.now = 0.4
    assert not may_begin(held, woken)
    held.committed(2, 2)
    assert (woken, held.results) == ([], 3)
    held.committed(3, 3)
    assert (woken, held.results) == (["woken"], 0)


def test_calls_wait_while_the_database_is_away() -> None:
    """Also if nothing is in hand: what they return could not be kept."""
    held, _, woken = backlog()
    held.away()
    assert not may_begin(held, woken)
    held.committed(0, 0)
    assert woken == ["woken"]
    assert may_begin(held, woken)
