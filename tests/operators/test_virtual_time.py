"""Virtual time on one heap of events."""

from __future__ import annotations

from typing import Any

import reactivex
from reactivex import Observer
from reactivex import operators as rx_ops

from rxpipe import operators as ops
from rxpipe.operators import RateLimiter, from_iterable
from rxpipe.operators.core.clock import FOREVER, clock_for
from rxpipe.operators.core.virtual_time import VirtualClock, VirtualTime


def _same(value: int) -> int:
    return value


def test_events_happen_in_order_and_time_jumps_between_them() -> None:
    """Those of one time in the order in which they were scheduled; what is past happens now."""
    time, seen = VirtualTime(), list[tuple[str, float]]()

    def see(name: str) -> None:
        seen.append((name, time.seconds))

    def first() -> None:
        see("first")
        time.at(0.0, lambda: see("past"))

    time.at(2.0, lambda: see("late"))
    time.at(1.0, first)
    time.at(1.0, lambda: see("second"))
    time.at(1.5, lambda: see("never")).dispose()
    assert time.run(until=1.2)
    assert time.seconds == 1.2
    assert not time.run()
    assert seen == [("first", 1.0), ("second", 1.0), ("past", 1.0), ("late", 2.0)]


def test_its_clock_is_that_of_operators() -> None:
    """A stage's rate limit waits in it."""
    time, ends = VirtualTime(), list[float]()
    assert isinstance(clock_for(None, time), VirtualClock)
    stage = ops.stage(_same, rate_limit=RateLimiter(1, 3.0))
    observer = Observer[Any](lambda _: ends.append(time.seconds))
    from_iterable(range(3)).pipe(stage).subscribe(observer, scheduler=time)
    time.run()
    assert ends == [0.0, 3.0, 6.0]


def test_timers_of_reactivex_go_by_it() -> None:
    """They wait in it, one after the other."""
    time, ends = VirtualTime(), list[float]()
    delayed = reactivex.timer(2.5).pipe(rx_ops.delay(1.0))
    delayed.subscribe(lambda _: ends.append(time.seconds), scheduler=time)
    time.run()
    assert ends == [3.5]


def test_a_wait_for_ever_is_none() -> None:
    """Nothing is left to happen."""
    time = VirtualTime()
    time.virtual_clock.call_later(2 * FOREVER, lambda: None)
    assert not time.run()
    assert time.seconds == 0.0
