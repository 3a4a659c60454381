"""Sources that pull on demand: no item is taken before there is room for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from typing import Any, TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable
from reactivex.scheduler import CurrentThreadScheduler

from .clock import running_loop
from .loops import use_loop
from .machine import Producer, as_exception
from .mailbox import SchedulerHome
from .runners import call_context

A = TypeVar("A")


def from_iterable(iterable: Iterable[A], *, scheduler: SchedulerBase | None = None) -> Observable[A]:
    """The items of an iterable, each taken when the stage downstream has room for it.

    ::

        rxpipe.from_iterable(range(1_000_000)).pipe(ops.stage(generate, concurrency=3))

    Without a stage downstream all items are emitted in one go.

    Args:
        iterable: Iterated anew by each subscription. What it raises ends the sequence.
        scheduler: Where ``next()`` is called and items are emitted; needed if it may block. By default it is
            called wherever room was made: on the loop, or on a worker thread that finished a call.

    Returns:
        A cold observable.
    """

    def subscribe(observer: ObserverBase[A], subscribed_on: SchedulerBase | None = None) -> DisposableBase:
        puller = _Puller(iter(iterable), observer, scheduler)
        # From the trampoline, so that whoever is subscribing has the subscription before the first item.
        start = subscribed_on or CurrentThreadScheduler.singleton()

        def pull(scheduler: SchedulerBase, state: Any = None) -> None:
            puller.wake()

        return CompositeDisposable(start.schedule(pull), puller)

    return reactivex.create(subscribe)


class _Puller(Producer[A]):
    """Takes the next item whenever the gate downstream lets one in."""

    def __init__(self, iterator: Iterator[A], observer: ObserverBase[A], scheduler: SchedulerBase | None) -> None:
        super().__init__(observer, SchedulerHome(scheduler) if scheduler else None)
        self._iterator = iterator

    def advance(self) -> None:
        while not self.over and self.may_emit():
            try:
                value = next(self._iterator)
            except StopIteration:
                self.keep()
                self.end()
            except Exception as error:  # noqa: BLE001 - the iterable's failure is the sequence's
                self.keep()
                self.end(error)
            else:
                self.emit(value)

    def free(self) -> None:
        self._iterator = iter(())


def from_async_iterable(iterable: AsyncIterable[A]) -> Observable[A]:
    """The items of an async iterable, each awaited when the stage downstream has room for it.

    It is iterated on the event loop that is running at subscription, else on rxpipe's own. Disposing the
    subscription cancels the iteration, and closes an async generator.

    Args:
        iterable: Iterated anew by each subscription. What it raises ends the sequence.

    Returns:
        A cold observable.
    """

    def subscribe(observer: ObserverBase[A], scheduler: SchedulerBase | None = None) -> DisposableBase:
        loop, release = use_loop()
        return _AsyncPuller(iterable, observer, loop, release)

    return reactivex.create(subscribe)


class _AsyncPuller(Producer[A]):
    """One task on the loop: waits for room, then for the next item."""

    def __init__(
        self,
        iterable: AsyncIterable[A],
        observer: ObserverBase[A],
        loop: asyncio.AbstractEventLoop,
        release: Callable[[], None],
    ) -> None:
        super().__init__(observer)
        self._iterable = iterable
        self._loop = loop
        self._release = release
        self._room = asyncio.Event()
        self._context = call_context()
        self._task: asyncio.Task[None] | None = None
        loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        if self.over:
            self._release()
            return
        self._task = self._loop.create_task(self._pull(), context=self._context)
        self._task.add_done_callback(lambda _: self._release())

    async def _pull(self) -> None:
        try:
            iterator = aiter(self._iterable)
            try:
                await self._wait_for_room()
                self.keep()  # no place is kept from other branches while the next item is awaited
                async for value in iterator:
                    await self._wait_for_room()
                    self.emit(value)
                    if self.over:
                        break
                    await self._wait_for_room()
                    self.keep()
            finally:
                close = getattr(iterator, "aclose", None)
                if close is not None:
                    await close()
        except BaseException as error:  # noqa: BLE001 - the iterable's failure is the sequence's
            self.end(as_exception(error))
        else:
            self.end()

    async def _wait_for_room(self) -> None:
        while not self.may_emit():
            self._room.clear()
            await self._room.wait()

    def advance(self) -> None:
        self._on_loop(self._room.set)

    def free(self) -> None:
        self._on_loop(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _on_loop(self, action: Callable[[], None]) -> None:
        if running_loop() is self._loop:
            action()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action)
