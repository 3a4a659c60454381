"""`TimerThread`: order, cancelling, actions that raise or block, and when its thread lives."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from operator_helpers import LIMIT
from reactivex.abc import DisposableBase

from rxpipe.operators.core.clock import TimerThread

HOUR = 3600.0


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "rxpipe-timer"]


def wait_for_the_end() -> None:
    while left := threads():  # one that ends may just have called another to stand by
        getattr(left[0], "_started").wait(LIMIT)  # noqa: B009 - else it cannot be joined yet
        left[0].join(LIMIT)
        assert not left[0].is_alive()


def nothing() -> None:
    pass


@pytest.fixture
def timers() -> Iterator[TimerThread]:
    """A timer thread of the test's own, which has ended when the test has."""
    timers = TimerThread()
    yield timers
    wait_for_the_end()


def held(timers: TimerThread) -> int:
    """How many timers it keeps, cancelled ones included."""
    kept: list[Any] = getattr(timers, "_timers")  # noqa: B009 - private, and what this is about
    return len(kept)


def test_an_action_is_called_once(timers: TimerThread) -> None:
    """Not before its time."""
    calls, done = list[float](), threading.Event()
    began = timers.now()
    timers.call_later(0.01, lambda: calls.append(timers.now()))
    timers.call_later(0.011, done.set)
    assert done.wait(LIMIT)
    assert len(calls) == 1
    assert calls[0] >= began + 0.01


def test_actions_come_in_order_of_their_times() -> None:
    """Whatever the order in which they were set."""
    timers, calls, done = TimerThread(patience=60), list[int](), threading.Event()
    now = timers.now()
    timers.now = lambda: now  # so long as they are being set
    timers.call_later(0, lambda: done.wait(LIMIT))  # type: ignore[arg-type]
    for number in (3, 1, 2, 0):
        timers.call_later(number, lambda number=number: calls.append(number))  # type: ignore[misc]
    timers.now = lambda: now + 10
    done.set()
    wait_for_the_end()
    assert calls == [0, 1, 2, 3]


def test_actions_for_the_same_time_come_in_the_order_in_which_they_were_set(timers: TimerThread) -> None:
    """And none is lost."""
    calls, done = list[int](), threading.Event()
    go_on = threading.Event()
    timers.call_later(0, lambda: go_on.wait(LIMIT))  # type: ignore[arg-type]
    for number in range(100):
        timers.call_later(-number, lambda number=number: calls.append(number))  # type: ignore[misc]
    timers.call_later(0, done.set)
    go_on.set()
    assert done.wait(LIMIT)
    assert calls == list(range(100))


def test_an_earlier_timer_does_not_wait_for_a_later_one(timers: TimerThread) -> None:
    """One that is set while the thread waits for another comes in time."""
    done = threading.Event()
    late = timers.call_later(HOUR, nothing)
    timers.call_later(0.001, done.set)
    assert done.wait(LIMIT)
    late.dispose()


def test_a_cancelled_action_is_not_called() -> None:
    """Nor does cancelling twice, or after the call, do any harm."""
    timers, calls, done = TimerThread(patience=60), list[str](), threading.Event()
    hold = threading.Event()
    timers.call_later(0, lambda: hold.wait(LIMIT))  # type: ignore[arg-type]
    cancelled = timers.call_later(0, lambda: calls.append("cancelled"))
    cancelled.dispose()
    cancelled.dispose()
    called = timers.call_later(0, lambda: calls.append("called"))
    timers.call_later(0, done.set)
    hold.set()
    assert done.wait(LIMIT)
    called.dispose()
    assert calls == ["called"]
    wait_for_the_end()


def test_an_action_may_cancel_the_next(timers: TimerThread) -> None:
    """Even one that is due already."""
    calls, done = list[str](), threading.Event()
    second: list[DisposableBase] = []
    ready = threading.Event()

    def cancel_second() -> None:
        assert ready.wait(LIMIT)
        second[0].dispose()

    timers.call_later(0, cancel_second)
    second.append(timers.call_later(0, lambda: calls.append("second")))
    timers.call_later(0, done.set)
    ready.set()
    assert done.wait(LIMIT)
    assert calls == []


def test_an_action_may_set_another() -> None:
    """As a rate limit does, again and again: on one thread, and one that stands by."""
    timers = TimerThread(patience=60)  # else, on a busy machine, a third one takes over
    left, done = [200], threading.Event()

    def again() -> None:
        left[0] -= 1
        if left[0]:
            timers.call_later(0, again)
        else:
            done.set()

    timers.call_later(0, again)
    assert done.wait(LIMIT)
    assert len(threads()) <= 2
    wait_for_the_end()


def test_ten_thousand_timers_that_are_cancelled_leave_nothing(timers: TimerThread) -> None:
    """Neither memory nor a thread."""
    disposables = [timers.call_later(HOUR, nothing) for _ in range(10_000)]
    assert len(threads()) == 1
    for disposable in disposables:
        disposable.dispose()
    assert held(timers) == 0
    wait_for_the_end()


def test_memory_is_bounded_while_timers_come_and_go(timers: TimerThread) -> None:
    """As with a timeout that each call sets and cancels, beside some that stay."""
    stay = [timers.call_later(HOUR, nothing) for _ in range(10)]
    most = 0
    for _ in range(5000):
        timers.call_later(HOUR / 2, nothing).dispose()
        most = max(most, held(timers))
    assert most <= 21
    for disposable in stay:
        disposable.dispose()


class Value:
    """Something that can be weakly referenced, with a method for an action."""

    def act(self) -> None:
        pass


@pytest.mark.parametrize("others", [0, 10])
def test_a_cancelled_action_is_let_go_of(timers: TimerThread, others: int) -> None:
    """At once, though its time may be far away and others keep the thread alive."""
    stay = [timers.call_later(HOUR, nothing) for _ in range(others)]
    value = Value()
    alive, disposable = weakref.ref(value), timers.call_later(2 * HOUR, value.act)
    del value
    gc.collect()
    assert alive() is not None
    disposable.dispose()
    gc.collect()
    assert alive() is None
    for other in stay:
        other.dispose()


def test_a_called_action_is_let_go_of(timers: TimerThread) -> None:
    """While the thread waits for the next timer."""
    value, done = Value(), threading.Event()
    alive = weakref.ref(value, lambda _: done.set())
    stay = timers.call_later(HOUR, nothing)
    kept = timers.call_later(0, value.act)
    del value
    assert done.wait(LIMIT)
    assert alive() is None
    kept.dispose()
    stay.dispose()


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), KeyboardInterrupt()])
def test_an_action_that_raises(timers: TimerThread, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """It is shown, and the thread goes on."""
    shown, done = list[BaseException | None](), threading.Event()

    def show(args: threading.ExceptHookArgs) -> None:
        shown.append(args.exc_value)

    monkeypatch.setattr(threading, "excepthook", show)

    def fail() -> None:
        raise error

    timers.call_later(0, fail)
    timers.call_later(0, done.set)
    assert done.wait(LIMIT)
    assert shown == [error]


def test_it_starts_again_after_it_has_ended(timers: TimerThread) -> None:
    """A thread lives for as long as there are timers, and another comes with the next."""
    for _ in range(20):
        done = threading.Event()
        timers.call_later(0, done.set)
        assert done.wait(LIMIT)
        wait_for_the_end()


def test_it_starts_again_whenever_it_is_about_to_end(timers: TimerThread) -> None:
    """No timer is lost to a thread that is just leaving."""
    for _ in range(300):
        done = threading.Event()
        timers.call_later(0, done.set)
        assert done.wait(LIMIT)


def test_many_threads_set_and_cancel(timers: TimerThread) -> None:
    """Every timer that is not cancelled is called once."""
    calls, start = list[int](), threading.Barrier(4)
    done = threading.Semaphore(0)

    def act(number: int) -> Callable[[], None]:
        def call() -> None:
            calls.append(number)
            done.release()

        return call

    def use(of: int) -> None:
        start.wait(LIMIT)
        for number in range(of, 2000, 4):
            timers.call_later(number % 5 / 1000, act(number))
            timers.call_later(1, act(-1)).dispose()

    users = [threading.Thread(target=use, args=(of,)) for of in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join(LIMIT)
    for _ in range(2000):
        assert done.acquire(timeout=LIMIT)
    assert sorted(calls) == list(range(2000))


def test_an_action_that_blocks_delays_no_other(timers: TimerThread) -> None:
    """Another thread takes over, also for timers that are set meanwhile, and for several that block."""
    go_on, done = threading.Event(), [threading.Event() for _ in range(4)]

    def block() -> None:
        assert go_on.wait(LIMIT)

    timers.call_later(0, block)
    timers.call_later(0.001, done[0].set)
    assert done[0].wait(LIMIT)
    timers.call_later(0.001, done[1].set)
    assert done[1].wait(LIMIT)
    timers.call_later(0, block)
    timers.call_later(0, block)
    timers.call_later(0, done[2].set)
    assert done[2].wait(LIMIT)
    go_on.set()
    timers.call_later(0, done[3].set)
    assert done[3].wait(LIMIT)


def test_an_action_may_wait_for_another_timer(timers: TimerThread) -> None:
    """An observer that is notified by a timer may itself run a pipeline that needs timers."""
    done, all_done = threading.Event(), threading.Event()

    def wait() -> None:
        timers.call_later(0.001, done.set)
        assert done.wait(LIMIT)
        all_done.set()

    timers.call_later(0, wait)
    assert all_done.wait(LIMIT)


def test_brief_actions_need_one_thread() -> None:
    """One stands by, but does not take over from a thread that is not late; so the order is kept."""
    timers, seen, done = TimerThread(patience=60), list[int](), threading.Event()
    stay = timers.call_later(HOUR, nothing)
    for _ in range(50):
        timers.call_later(0.001, lambda: seen.append(threading.get_ident()))
    timers.call_later(0.002, done.set)
    assert done.wait(LIMIT)
    assert len(set(seen)) == 1
    stay.dispose()
    wait_for_the_end()


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_timers_in_general(plan: list[tuple[int, bool]]) -> None:
    """Whatever is set and cancelled: the rest is called, in order."""
    timers, calls, done = TimerThread(patience=60), list[tuple[int, int]](), threading.Event()
    hold = threading.Event()
    timers.call_later(-9, lambda: hold.wait(LIMIT))  # type: ignore[arg-type]
    kept: list[tuple[int, int]] = []
    for number, (milliseconds, cancel) in enumerate(plan):
        entry = (milliseconds, number)
        timer = timers.call_later(milliseconds / 1000, lambda entry=entry: calls.append(entry))  # type: ignore[misc]
        if cancel:
            timer.dispose()
        else:
            kept.append(entry)
    timers.call_later(0.004, done.set)
    hold.set()
    assert done.wait(LIMIT)
    assert sorted(calls) == sorted(kept)
