"""Mailboxes: messages one at a time and in order, each in the right place, none left behind."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextvars import copy_context

import pytest
from operator_helpers import here, run_on_loop
from reactivex.scheduler import EventLoopScheduler

from rxpipe.operators.core.dispatchers import LoopDispatcher, OneThread, RelayDispatcher, SchedulerDispatcher
from rxpipe.operators.core.mailbox import LoopMailbox, Mailbox, mailbox
from rxpipe.operators.core.worker import HERE, Worker, worker_is_free

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="unset")


class Log:
    """What happened, as an ``advance`` and a ``failed`` for a mailbox note it."""

    def __init__(self) -> None:
        self.entries: list[object] = []

    def advance(self) -> None:
        self.entries.append("advance")

    def failed(self, error: BaseException) -> None:
        self.entries.append(error)

    def note(self, entry: object) -> None:
        self.entries.append(entry)


class Elsewhere:
    """A dispatcher whose actions wait until they are run by hand; it is nowhere here, unless said."""

    def __init__(self, is_here: Callable[[], bool] = lambda: False) -> None:
        self.actions: list[Callable[[], None]] = []
        self.is_here = is_here

    def call_soon(self, action: Callable[[], None]) -> None:
        self.actions.append(action)

    def close(self) -> None:
        pass


def on_a_thread(action: Callable[[], object]) -> None:
    thread = threading.Thread(target=action)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


Make = Callable[[Callable[[], None], Callable[[BaseException], None]], Mailbox]


@pytest.fixture(params=["any thread", "one thread"])
def make(request: pytest.FixtureRequest) -> Make:
    """A mailbox for any thread, and that for one."""
    return lambda advance, failed: mailbox(advance, failed, OneThread() if request.param == "one thread" else None)


def test_an_idle_mailbox_handles_at_once(make: Make) -> None:
    """A message is handled in `post`, and the state is acted on after it."""
    log = Log()
    make(log.advance, log.failed).post(log.note, 1)
    assert log.entries == [1, "advance"]


def test_messages_from_a_handler_wait_for_it(make: Make) -> None:
    """What a handler posts comes after it, before the state is acted on."""
    log = Log()
    box = make(log.advance, log.failed)

    def handler() -> None:
        box.post(log.note, 2)
        box.post(log.note, 3)
        log.note(1)

    box.post(handler)
    assert log.entries == [1, 2, 3, "advance"]


def test_messages_from_advance_are_handled_after_it(make: Make) -> None:
    """What acting on the state posts is handled next, and the state acted on again."""
    log = Log()
    more = iter([1, 2])

    def advance() -> None:
        log.advance()
        for number in more:
            box.post(log.note, number)
            break

    box = make(advance, log.failed)
    box.post(log.note, 0)
    assert log.entries == [0, "advance", 1, "advance", 2, "advance"]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_a_handler_that_raises_is_reported(make: Make, error: BaseException) -> None:
    """`post` does not raise: the error is reported, and later messages are handled."""
    log = Log()
    box = make(log.advance, log.failed)

    def handler() -> None:
        box.post(log.note, "after")
        raise error

    box.post(handler)
    assert log.entries == [error, "after", "advance"]


def test_handlers_never_overlap_and_none_is_left_behind() -> None:
    """Under a barrage from several threads each message is handled once, one at a time, in its sender's order."""
    inside, overlaps = threading.Lock(), 0
    handled: list[tuple[int, int]] = []

    def handler(sender: int, number: int) -> None:
        nonlocal overlaps
        if not inside.acquire(blocking=False):
            overlaps += 1
            return
        handled.append((sender, number))
        inside.release()

    log = Log()
    box = Mailbox(lambda: None, log.failed)
    start = threading.Barrier(4)

    def send(sender: int) -> None:
        start.wait(20)
        for number in range(2000):
            box.post(handler, sender, number)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert overlaps == 0
    assert len(handled) == 8000
    for sender in range(4):
        assert [number for who, number in handled if who == sender] == list(range(2000))


def test_messages_from_elsewhere_wake_the_dispatcher() -> None:
    """From another thread nothing is handled; one wake-up is enough for many messages."""
    log, dispatcher = Log(), Elsewhere()
    box = Mailbox(log.advance, log.failed, dispatcher)
    box.post(log.note, 1)
    box.post(log.note, 2)
    assert log.entries == []
    (come,) = dispatcher.actions
    come()
    assert log.entries == [1, 2, "advance"]
    box.post(log.note, 3)
    assert len(dispatcher.actions) == 2


def test_messages_on_the_loop_are_handled_at_once() -> None:
    """On the loop no wake-up is needed, and messages that came before are handled first."""
    log = Log()

    async def main() -> None:
        box = LoopMailbox(log.advance, log.failed, LoopDispatcher(asyncio.get_running_loop()))
        on_a_thread(lambda: box.post(log.note, 1))
        assert log.entries == []
        box.post(log.note, 2)
        assert log.entries == [1, 2, "advance"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run_on_loop(main, virtual=False)
    assert log.entries == [1, 2, "advance"]


def test_a_dispatcher_that_refuses_is_asked_again() -> None:
    """Where it cannot be reached the sender is told, and the next message tries anew."""
    log, dispatcher = Log(), Elsewhere()

    def refuse(action: Callable[[], None]) -> None:
        raise OSError

    box = Mailbox(log.advance, log.failed, dispatcher)
    reachable, dispatcher.call_soon = dispatcher.call_soon, refuse  # type: ignore[method-assign]
    with pytest.raises(OSError):  # noqa: PT011 - it has no text
        box.post(log.note, 1)
    dispatcher.call_soon = reachable  # type: ignore[method-assign]
    box.post(log.note, 2)
    dispatcher.actions[0]()
    assert log.entries == [1, 2, "advance"]


def test_workers_empty_their_mailbox_themselves() -> None:
    """A thread that runs calls handles messages at once; others wake the dispatcher."""
    log, dispatcher = Log(), Elsewhere(worker_is_free)
    box = Mailbox(log.advance, log.failed, dispatcher)

    def as_worker() -> None:
        HERE.worker = Worker(copy_context())
        box.post(log.note, 1)

    on_a_thread(as_worker)
    assert log.entries == [1, "advance"]
    assert dispatcher.actions == []
    box.post(log.note, 2)
    assert log.entries == [1, "advance"]
    dispatcher.actions[0]()
    assert log.entries == [1, "advance", 2, "advance"]


def test_the_last_message_is_handled_by_whoever_sends_it() -> None:
    """What ends everything needs no worker; it comes after what has been sent before."""
    log, dispatcher = Log(), Elsewhere(worker_is_free)
    box = Mailbox(log.advance, log.failed, dispatcher)
    box.post(log.note, 1)
    box.post_last(lambda: log.note("last"))
    assert log.entries == [1, "last", "advance"]


def test_a_loop_has_a_mailbox_of_its_own() -> None:
    """No dispatcher, one of workers and a thread of its own share a kind."""
    log, relay, loop = Log(), RelayDispatcher("test"), asyncio.new_event_loop()
    dispatchers = (None, Elsewhere(), relay, LoopDispatcher(loop))
    kinds = [type(mailbox(log.advance, log.failed, dispatcher)) for dispatcher in dispatchers]
    assert kinds == [Mailbox, Mailbox, Mailbox, LoopMailbox]
    relay.close()
    loop.close()


def test_a_loop() -> None:
    """Messages from threads are handled on the loop's thread, in the context in which the dispatcher was made."""
    seen: list[tuple[threading.Thread, str]] = []

    async def main() -> None:
        VAR.set("subscriber")
        box = Mailbox(lambda: None, Log().failed, LoopDispatcher(asyncio.get_running_loop()))

        def send() -> None:
            VAR.set("call")
            box.post(lambda: seen.append((here(), VAR.get())))

        thread = threading.Thread(target=send)
        thread.start()
        thread.join()
        assert seen == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    run_on_loop(main, virtual=False)
    assert seen == [(here(), "subscriber")]


def test_another_threads_loop() -> None:
    """A loop that runs elsewhere will do; once there, its own messages are handled at once."""
    loop, log, done = asyncio.new_event_loop(), Log(), threading.Event()
    box = LoopMailbox(log.advance, log.failed, LoopDispatcher(loop))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def on_the_loop() -> None:
        box.post(log.note, 2)
        log.note(3)
        done.set()

    def come_again() -> None:
        loop.call_soon(on_the_loop)

    box.post(come_again)
    assert done.wait(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert log.entries == ["advance", 2, "advance", 3]


def test_a_closed_loop() -> None:
    """When the loop is gone, messages are handled where they are sent, so that what is left is freed."""
    loop, log = asyncio.new_event_loop(), Log()
    box = LoopMailbox(log.advance, log.failed, LoopDispatcher(loop))
    loop.close()
    box.post(log.note, 1)
    assert log.entries == [1, "advance"]


def test_a_relay_outlives_what_its_actions_raise(shown: list[str]) -> None:
    """An action's error is shown, the next action runs, and the thread ends after what it has been given."""
    relay, threads = RelayDispatcher("test"), list[threading.Thread]()

    def fail() -> None:
        raise ValueError("action")

    relay.call_soon(fail)
    relay.call_soon(lambda: threads.append(here()))
    relay.close()
    next(thread for thread in threading.enumerate() if thread.name == "rxpipe-test-relay").join(20)
    assert shown == ["action"]
    assert [thread.name for thread in threads] == ["rxpipe-test-relay"]


def test_a_scheduler() -> None:
    """Messages are handled on the scheduler's thread, also those that are sent there."""
    scheduler, threads, done = EventLoopScheduler(), list[threading.Thread](), threading.Event()
    box = Mailbox(lambda: None, Log().failed, SchedulerDispatcher(scheduler))

    def first() -> None:
        threads.append(here())
        box.post(second)

    def second() -> None:
        threads.append(here())
        done.set()

    box.post(first)
    assert done.wait(20)
    assert here() not in threads
    assert len(set(threads)) == 1
    scheduler.dispose()
