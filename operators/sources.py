"""Sources that pull on demand: an item is taken only when there is room for it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable, SerialDisposable
from reactivex.scheduler import CurrentThreadScheduler, EventLoopScheduler, VirtualTimeScheduler
from reactivex.typing import StartableTarget

from .core.clock import running_loop, scheduler_to_wait_on
from .core.dispatchers import SchedulerDispatcher
from .core.loops import use_loop
from .core.machine import Producer, as_exception
from .core.worker import call_context

A = TypeVar("A")


def from_iterable(iterable: Iterable[A], *, scheduler: SchedulerBase | None = None) -> Observable[A]:
    """Emit the items of an iterable. Each item is taken when the stage downstream has room for it.

    ::

        rxpipe.from_iterable(range(1_000_000)).pipe(ops.stage(generate, concurrency=3))

    Without a stage downstream, all items are emitted at once.

    Args:
        iterable: Iterated again for each subscription. An error of the iterable ends the sequence; as ``CallFailed`` if
            the error is no ``Exception``, such as ``SystemExit``.
        scheduler: Where the iterable is iterated and its items are emitted. Give one if the iterable may block. By
            default the iteration runs where room was made: on the event loop, or on a worker thread that finished a
            call. With a scheduler, an item waits if another source (of a ``merge``) has taken its place meanwhile.
            Without one, an item is taken only after its place is reserved.

    Returns:
        A cold observable.
    """

    def subscribe(observer: ObserverBase[A], subscribed_on: SchedulerBase | None = None) -> DisposableBase:
        puller = _Puller(iterable, observer, scheduler)
        return CompositeDisposable(when_subscribed(puller.wake, scheduler_to_wait_on(subscribed_on)), puller)

    return reactivex.create(subscribe)


def when_subscribed(begin: Callable[[], None], scheduler: SchedulerBase | None = None) -> DisposableBase:
    """Begin when the subscriber has the subscription and can dispose it: from the trampoline."""
    beginning = SerialDisposable()

    def run(_: SchedulerBase, state: Any = None) -> None:
        begin()

    def run_there(_: SchedulerBase, state: Any = None) -> None:
        if scheduler is not None:
            beginning.disposable = scheduler.schedule(run)

    beginning.disposable = CurrentThreadScheduler.singleton().schedule(run if scheduler is None else run_there)
    return beginning


class _Puller(Producer[A]):
    """Takes the next item whenever the gate downstream has room."""

    def __init__(self, iterable: Iterable[A], observer: ObserverBase[A], scheduler: SchedulerBase | None) -> None:
        super().__init__(observer, SchedulerDispatcher(scheduler) if scheduler else None)
        self._iterable = iterable
        self._iterator: Iterator[A] | None = None
        self._may_block = scheduler is not None
        self._taken: deque[A] = deque()  # one item at most

    def advance(self) -> None:
        while not self.over and self.may_emit():
            if not self._taken:
                if self._may_block:
                    self.give_back_place()  # other branches can use the place while this waits for the next item
                self._take()
                if self.over or (self._may_block and not self.may_emit()):
                    break
            self.emit(self._taken.popleft())
        self.give_back_place()

    def _take(self) -> None:
        try:
            if self._iterator is None:
                self._iterator = iter(self._iterable)
            self._taken.append(next(self._iterator))
        except StopIteration:
            self.end()
        except BaseException as error:  # noqa: BLE001 - the iterable's failure, whatever it is, is the sequence's
            self.end(as_exception(error))

    def free(self) -> None:
        self._iterable = self._iterator = iter(())
        self._taken.clear()


def from_async_iterable(iterable: AsyncIterable[A]) -> Observable[A]:
    """Emit the items of an async iterable. Each item is awaited when the stage downstream has room for it.

    The iteration runs on the event loop that is running at subscription, else on rxpipe's own loop. Disposing the
    subscription cancels the awaiting of the next item. Then an async generator is closed, and its clean-up may await.

    Args:
        iterable: Iterated again for each subscription. An error of the iterable ends the sequence; as ``CallFailed`` if
            the error is no ``Exception``. ``CancelledError``, when the loop shuts down, ends the sequence, too.

    Returns:
        A cold observable.
    """

    def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
        puller = _AsyncPuller(iterable, observer)
        return CompositeDisposable(when_subscribed(puller.begin), puller)

    return reactivex.create(subscribe)


def from_blocking_iterable(iterable: Iterable[A]) -> Observable[A]:
    """Emit the items of an iterable that may block. A daemon thread iterates it, in the subscriber's context.

    In virtual time the subscribing thread iterates it, since a thread would not wait for virtual time.
    """

    def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
        if isinstance(scheduler, VirtualTimeScheduler):
            return from_iterable(iterable).subscribe(observer, scheduler=scheduler)
        thread = _SourceThread()
        subscription = from_iterable(_InContext(iterable), scheduler=thread).subscribe(observer)
        return CompositeDisposable(subscription, Disposable(thread.end))

    return reactivex.create(subscribe)


class _InContext(Iterable[A]):
    def __init__(self, iterable: Iterable[A]) -> None:
        self._iterable = iterable
        self._context = call_context()

    def __iter__(self) -> Iterator[A]:
        iterator = self._context.run(iter, self._iterable)
        while True:
            try:
                value = self._context.run(next, iterator)
            except StopIteration:
                return
            yield value


class _SourceThread(EventLoopScheduler):
    """A thread for a source that may block."""

    def __init__(self) -> None:
        super().__init__(thread_factory=_daemon)

    def end(self) -> None:
        """Let the thread end after its waiting work, as soon as the source lets the thread go on.

        ``dispose`` does not serve: it throws away waiting work, fails late wake-ups, and is not noticed if the thread
        itself calls it.
        """
        self._exit_if_empty = True
        self.schedule(_nothing)


def _nothing(scheduler: SchedulerBase, state: Any = None) -> None:
    pass


def _daemon(target: StartableTarget) -> threading.Thread:
    return threading.Thread(target=target, name="rxpipe-source", daemon=True)


class _AsyncPuller(Producer[A]):
    """One task on the loop. It waits for room, then for the next item."""

    def __init__(self, iterable: AsyncIterable[A], observer: ObserverBase[A]) -> None:
        super().__init__(observer)
        self._iterable = iterable
        self._loop: asyncio.AbstractEventLoop | None = None
        self._room = asyncio.Event()
        self._context = call_context()
        self._task: asyncio.Task[None] | None = None
        self._waiting = False  # True if the task may be cancelled: not while it emits or closes the iterator

    def begin(self) -> None:
        """Start the task."""
        self._loop, release = use_loop()
        self._loop.call_soon_threadsafe(self._start, self._loop, release)

    def _start(self, loop: asyncio.AbstractEventLoop, release: Callable[[], None]) -> None:
        if self.over:
            release()
            return
        self._waiting = True
        self._task = loop.create_task(self._pull(), name="rxpipe-source", context=self._context)
        self._task.add_done_callback(self._finished)
        self._task.add_done_callback(lambda _: release())

    def _finished(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # cancelled before it began
            self.end(as_exception(asyncio.CancelledError()))
        elif (error := task.exception()) is not None:
            self.end(as_exception(error))

    async def _pull(self) -> None:
        error: Exception | None = None
        iterator: AsyncIterator[A] | None = None
        try:
            iterator = aiter(self._iterable)
            await self._emit_from(iterator)
        except StopAsyncIteration:
            pass
        except GeneratorExit:
            raise  # if the loop is gone, nobody can be told; if not, ``_finished`` ends the sequence
        except BaseException as raised:  # noqa: BLE001 - the iterable's failure, whatever it is, is the sequence's
            error = as_exception(raised)
        self._waiting = False
        try:
            if (close := getattr(iterator, "aclose", None)) is not None:
                await close()
        except BaseException as raised:  # noqa: BLE001 - raised by the iterable's clean-up
            error = error or as_exception(raised)
        self.end(error)

    async def _emit_from(self, iterator: AsyncIterator[A]) -> None:
        while await self._room_for_one():
            self.give_back_place()  # other branches can use the place while this awaits the next item
            value = await anext(iterator)
            if await self._room_for_one():
                self._waiting = False
                self.emit(value)
                self._waiting = True

    async def _room_for_one(self) -> bool:
        """Wait for room. Returns False if the sequence is over."""
        while not self.over and not self.may_emit():
            self._room.clear()
            await self._room.wait()
        return not self.over

    def advance(self) -> None:
        self._on_loop(self._room.set)

    def free(self) -> None:
        self._on_loop(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None and self._waiting:
            self._task.cancel()

    def _on_loop(self, action: Callable[[], None]) -> None:
        if self._loop is None:
            return  # the task has not begun
        if running_loop() is self._loop:
            action()
        else:
            with suppress(RuntimeError):  # the loop is closed, and the task with it
                self._loop.call_soon_threadsafe(action)
