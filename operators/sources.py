"""Sources that pull on demand: no item is taken before there is room for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable, Iterator
from typing import TypeVar

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable
from reactivex.scheduler import CurrentThreadScheduler

from .clock import running_loop
from .loops import BACKGROUND_LOOP
from .machine import Producer
from .mailbox import SchedulerHome

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
        return CompositeDisposable(start.schedule(lambda *_: puller.wake()), puller)

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
        loop, release = (running_loop(), _nothing) if running_loop() else BACKGROUND_LOOP.acquire()
        puller = _AsyncPuller(iterable, observer, loop, release)
        loop.call_soon_threadsafe(puller.start)
        return puller

    return reactivex.create(subscribe)
