"""The background loop lives for as long as anybody uses it, whoever that is and whenever they come."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
import reactivex
from operator_helpers import LIMIT, Watch, collect
from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe.operators import Retry, from_async_iterable, from_iterable, retry, stage
from rxpipe.operators.core.loops import BACKGROUND_LOOP, BackgroundLoop, hold_loop, run_on_loop, use_loop


async def pausing(value: int) -> int:
    await asyncio.sleep(0)
    return value


def on_the_loop() -> Observable[int]:
    return from_iterable(range(4)).pipe(stage(pausing))


@pytest.fixture
def background() -> BackgroundLoop:
    return BackgroundLoop()


def is_closed(background: BackgroundLoop, loop: asyncio.AbstractEventLoop) -> bool:
    background.wait_closed(LIMIT)
    return loop.is_closed()


def run_there(loop: asyncio.AbstractEventLoop, action: Callable[[], Any]) -> Any:
    """Call ``action`` on a loop, and wait for what it gives."""

    async def act() -> Any:
        return action()

    return asyncio.run_coroutine_threadsafe(act(), loop).result(LIMIT)


def test_it_ends_with_its_last_user(background: BackgroundLoop) -> None:
    """In whichever order they go; a release that comes twice counts once."""
    loop, first = background.acquire()
    same, second = background.acquire()
    assert same is loop
    first()
    first()
    assert background.users == 1
    assert run_there(loop, lambda: "alive") == "alive"
    second()
    assert is_closed(background, loop)
    assert background.users == 0


def test_a_user_who_comes_before_it_has_stopped(background: BackgroundLoop) -> None:
    """Between the last release and the end, the loop is used again instead."""
    loop, release = background.acquire()
    busy, go_on = threading.Event(), threading.Event()

    def keep_busy() -> None:
        busy.set()
        assert go_on.wait(LIMIT)

    loop.call_soon_threadsafe(keep_busy)
    assert busy.wait(LIMIT)
    release()
    again, release_again = background.acquire()
    go_on.set()
    assert again is loop
    assert run_there(loop, lambda: "alive") == "alive"
    release_again()
    assert is_closed(background, loop)


def test_a_user_who_comes_after_the_stop_in_the_same_turn(background: BackgroundLoop) -> None:
    """What the loop is asked to do between two users is done, and both have the same loop."""
    loop, release = background.acquire()
    holds: list[Callable[[], None]] = []
    held = threading.Event()

    def come_back() -> None:
        holds.append(background.hold(loop))
        held.set()

    def release_and_come_back() -> None:
        release()  # the loop stops at the end of its next turn
        loop.call_soon(come_back)

    loop.call_soon_threadsafe(release_and_come_back)
    assert held.wait(LIMIT)
    assert run_there(loop, lambda: "alive") == "alive"
    holds[0]()
    assert is_closed(background, loop)


def test_a_user_from_a_task_that_its_end_cancels(background: BackgroundLoop) -> None:
    """The loop goes on until that user has gone, too; others get a new loop meanwhile."""
    loop, release = background.acquire()
    holds: list[Callable[[], None]] = []
    held = threading.Event()

    async def to_the_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            holds.append(background.hold(loop))
            held.set()

    started = run_there(loop, lambda: asyncio.ensure_future(to_the_end()))
    run_there(loop, lambda: None)
    release()
    assert held.wait(LIMIT)
    other, release_other = background.acquire()
    assert other is not loop
    assert run_there(loop, lambda: "alive") == "alive"
    holds[0]()
    release_other()
    assert is_closed(background, loop)
    assert other.is_closed()
    assert started.cancelled()


def test_waiting_for_its_end_does_not_wait_for_new_users(background: BackgroundLoop) -> None:
    """Who waits for connections to be closed goes on when somebody else uses them again."""
    loop, release = background.acquire()
    busy, go_on = threading.Event(), threading.Event()

    def keep_busy() -> None:
        busy.set()
        assert go_on.wait(LIMIT)

    loop.call_soon_threadsafe(keep_busy)
    assert busy.wait(LIMIT)
    release()
    waited = threading.Thread(target=background.wait_closed, args=(LIMIT * 10,))
    waited.start()
    _, release_again = background.acquire()
    waited.join(LIMIT)
    assert not waited.is_alive()
    go_on.set()
    release_again()
    assert is_closed(background, loop)


def test_users_come_and_go_at_once(background: BackgroundLoop) -> None:
    """Nobody is ever given a loop that has stopped, or will stop before the release."""
    failures: list[BaseException] = []

    def come_and_go() -> None:
        try:
            for _ in range(50):
                loop, release = background.acquire()
                assert run_there(loop, lambda: 1) == 1
                release()
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    background.wait_closed(LIMIT)
    assert failures == []
    assert background.users == 0


def test_somebody_elses_loop_is_nobodys_to_end() -> None:
    """A loop that an app runs is used as it is."""

    async def main() -> None:
        loop, release = use_loop()
        assert loop is asyncio.get_running_loop()
        release()
        hold_loop()()
        assert BACKGROUND_LOOP.users == 0

    asyncio.run(main())
    hold_loop()()


def test_a_sequence_in_the_end_of_another() -> None:
    """Subscribed to on the loop when its only user has ended."""
    second = Watch[int]()
    first = Watch[int]()

    def begin_second() -> None:
        second.to(on_the_loop())
        first.on_completed()

    on_the_loop().subscribe(first.on_next, first.on_error, begin_second)
    assert sorted(first.end()) == sorted(second.end()) == [0, 1, 2, 3]


def test_plain_functions_have_the_loop_as_dispatcher() -> None:
    """A stage of plain functions that is subscribed to on the loop keeps it, though its calls run on threads."""
    go_on = threading.Event()

    def waiting(value: int) -> int:
        assert go_on.wait(LIMIT)
        return value

    inner = Watch[int]()
    outer = Watch[int]()

    def begin(value: int) -> None:
        if value == 0:
            inner.to(from_iterable(range(4)).pipe(stage(waiting)))

    def both(value: int) -> None:
        begin(value)
        outer.on_next(value)

    on_the_loop().subscribe(both, outer.on_error, outer.on_completed)
    assert outer.end() == [0, 1, 2, 3]
    go_on.set()
    assert inner.end() == [0, 1, 2, 3]


def test_retry_keeps_the_loop_between_attempts() -> None:
    """The source has ended, and with it the stages in it; the timer of the next attempt is on the loop."""
    attempts: list[int] = []

    async def failing(value: int) -> int:
        attempts.append(value)
        if len(attempts) < 3:
            raise ValueError(value)
        return value

    again = from_iterable([7]).pipe(stage(failing), retry(Retry(max_attempts=3, initial=0.001)))
    assert collect(reactivex.concat(on_the_loop(), again)) == [0, 1, 2, 3, 7]
    assert attempts == [7, 7, 7]


def test_async_sources_one_after_the_other() -> None:
    """Each is iterated to its end."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    def source(_: int) -> Observable[int]:
        return from_async_iterable(numbers())

    assert collect(reactivex.concat(source(0), source(1))) == [0, 1, 2] * 2
    assert collect(from_iterable(range(3)).pipe(rx_ops.concat_map(source))) == [0, 1, 2] * 3


def test_nothing_is_held_after_the_end() -> None:
    """Whatever has ended, was disposed, or could not begin, has let go of the loop."""

    async def forever(value: int) -> None:
        await asyncio.Event().wait()

    watch = Watch[Any]().to(reactivex.concat(on_the_loop(), from_iterable([1]).pipe(stage(forever))))
    watch.wait_for(4)
    watch.dispose()
    broken: Any = object()
    failed = Watch[int]().to(reactivex.concat(on_the_loop(), reactivex.defer(lambda _: stage(pausing)(broken))))
    with pytest.raises(AttributeError):
        failed.end()
    BACKGROUND_LOOP.wait_closed(LIMIT)
    assert BACKGROUND_LOOP.users == 0


async def open_for_ever() -> AsyncGenerator[int]:
    try:
        yield 1
    finally:
        await asyncio.Event().wait()


async def stubborn() -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


@pytest.mark.parametrize("interrupt", [False, True])
def test_a_loop_ends_though_something_on_it_does_not(interrupt: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A task, an async generator, a thread: they get their time, or after Ctrl-C none."""
    caplog.set_level(logging.CRITICAL, "asyncio")  # which says what was left
    may_return = threading.Event()
    left: list[Any] = []

    async def main() -> str:
        left.extend([asyncio.create_task(stubborn()), open_for_ever()])
        await anext(left[1])
        asyncio.get_running_loop().run_in_executor(None, may_return.wait)
        await asyncio.sleep(0)
        if interrupt:
            raise KeyboardInterrupt
        return "done"

    began = time.monotonic()
    try:
        if interrupt:
            with pytest.raises(KeyboardInterrupt):
                run_on_loop(main(), 100)
        else:
            assert run_on_loop(main(), 0.01) == "done"
        assert time.monotonic() < began + 5
        assert left[0].get_loop().is_closed()
    finally:
        may_return.set()
        left.clear()
        gc.collect()  # now, and not in another test


def test_what_ends_in_time_is_waited_for() -> None:
    """As ``asyncio.run`` does."""
    closed: list[str] = []

    async def client() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            closed.append("client")

    async def main() -> None:
        kept.append(asyncio.create_task(client()))
        await asyncio.sleep(0)

    kept: list[Any] = []
    run_on_loop(main(), 20)
    assert closed == ["client"]
