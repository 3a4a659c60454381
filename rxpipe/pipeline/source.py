"""Sources of IDs, as observables that wait until there is room for the next ID."""

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
    """Returns the source as an observable. The source is not touched before the subscription.

    Raises:
        ConfigError: The object is no source of IDs.
    """
    if isinstance(source, Observable):
        return source
    if isinstance(source, AsyncIterable):
        return from_async_iterable(source)
    if isinstance(source, (str, bytes, bytearray)):
        raise ConfigError(f"source: IDs, such as [{source!r}], not a single {type(source).__name__}")
    if isinstance(source, Collection):  # all items are in memory, so taking one does not block
        return CollectionSource(source)
    # Not every user checks types; iter() also takes an object that only has __getitem__.
    if not hasattr(source, "__iter__") and not hasattr(source, "__getitem__"):
        raise ConfigError(f"source: an iterable, an async iterable or an Observable, not {type(source).__name__}")

    return from_blocking_iterable(source)


def length(source: object) -> int | None:
    """Returns the number of items of a source; None if the source does not know it."""
    if isinstance(source, CollectionSource):
        source = source.ids
    try:
        return len(source) if isinstance(source, Sized) else None
    except OverflowError:  # a range of more than 2**63 items
        return None


class CollectionSource(Observable[Any]):
    """An observable of a collection's items. A run may also read the collection directly, without a subscription.

    Attributes:
        ids: The collection.
    """

    def __init__(self, ids: Collection[Any]) -> None:
        super().__init__()
        self.ids = ids

    def _subscribe_core(self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        return from_iterable(self.ids).subscribe(observer, scheduler=scheduler)


def on_running_loop(source: AsyncIterable[Any]) -> Observable[Any]:
    """Returns an observable of an async iterable.

    The iteration runs on the present event loop, whichever thread subscribes.
    """
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
    """Returns the source, changed so that an error of subscribing is notified as the failure of the sequence."""

    def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        try:
            return source.subscribe(observer, scheduler=scheduler)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: what was subscribed to before must end with it
            observer.on_error(as_exception(error))
            return Disposable()

    return reactivex.create(subscribe)
