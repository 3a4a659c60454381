"""Where IDs come from: anything that gives them, as an observable that waits until there is room for the next one."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable, Sized
from typing import Any, TypeAlias

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable, SingleAssignmentDisposable
from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.errors import ConfigError
from rxpipe.operators.core.clock import running_loop
from rxpipe.operators.core.gate import announced_gate, announcing
from rxpipe.operators.core.machine import as_exception
from rxpipe.operators.sources import from_async_iterable, from_blocking_iterable, from_iterable
from rxpipe.pipeline.record import Record

T = TypeVar("T", default=Any)

Source: TypeAlias = Iterable[T | Record[T]] | AsyncIterable[T | Record[T]] | Observable[T | Record[T]]


def as_observable(source: Source) -> Observable[Any]:
    """The source as an observable; it touches nothing before it is subscribed to.

    Raises:
        ConfigError: It is none.
    """
    if isinstance(source, Observable):
        return source
    if isinstance(source, AsyncIterable):
        return from_async_iterable(source)
    if isinstance(source, (str, bytes, bytearray)):
        raise ConfigError(f"source: IDs, such as [{source!r}], not a single {type(source).__name__}")
    if isinstance(source, Collection):  # it has all its items: taking one does not block
        return CollectionSource(source)
    # Not every user's code is type-checked; iter() also takes what only has __getitem__.
    if not hasattr(source, "__iter__") and not hasattr(source, "__getitem__"):
        raise ConfigError(f"source: an iterable, an async iterable or an Observable, not {type(source).__name__}")

    return from_blocking_iterable(source)


def length(source: object) -> int | None:
    """How many a source has, where it says so."""
    if isinstance(source, CollectionSource):
        source = source.ids
    try:
        return len(source) if isinstance(source, Sized) else None
    except OverflowError:  # a range of more than 2**63
        return None


class CollectionSource(Observable[Any]):
    """An observable of what a collection holds, which may also be taken from it without being emitted.

    Attributes:
        ids: The collection.
    """

    def __init__(self, ids: Collection[Any]) -> None:
        super().__init__()
        self.ids = ids

    def _subscribe_core(self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        return from_iterable(self.ids).subscribe(observer, scheduler=scheduler)


def on_running_loop(source: AsyncIterable[Any]) -> Observable[Any]:
    """An async iterable that is iterated on the loop that runs here, whichever thread subscribes."""
    loop = running_loop()
    if loop is None:
        return from_async_iterable(source)

    def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        gate = announced_gate()
        subscription = SingleAssignmentDisposable()

        def begin() -> None:
            with announcing(gate):
                subscription.disposable = from_async_iterable(source).subscribe(observer)

        loop.call_soon_threadsafe(begin)
        return subscription

    return reactivex.create(subscribe)


def subscribable(source: Observable[Any]) -> Observable[Any]:
    """The source; whatever it raises when it is subscribed to is its failure."""

    def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        try:
            return source.subscribe(observer, scheduler=scheduler)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: what was subscribed to before must end with it
            observer.on_error(as_exception(error))
            return Disposable()

    return reactivex.create(subscribe)
