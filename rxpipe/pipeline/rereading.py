"""A source that is read again and again, for a run that stays."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import reactivex
import structlog
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable, SerialDisposable

from rxpipe.operators.core.clock import clock_for
from rxpipe.operators.core.gate import announced_gate, announcing
from rxpipe.operators.core.machine import as_exception
from rxpipe.operators.errors import describe
from rxpipe.operators.sources import from_async_iterable, from_blocking_iterable
from rxpipe.pipeline.record import Record
from rxpipe.pipeline.source import Source, as_observable

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def rereading(
    first: Source, read: Callable[[], Iterable[Any] | AsyncIterable[Any]], *, every: float, may_change: bool = False
) -> Observable[Any]:
    """Emit the items of a source, and later its new items, each time that it is read again. Never completes.

    - If reading again fails, the source is read again later, and a warning gives the reason.
    - If the first reading fails, the sequence ends with the error.
    - Each ID is emitted once. So each takes about 100 bytes of memory.

    Args:
        first: The source for the first reading.
        read: Returns the source for a later reading. Called on a thread of its own, since it may block.
        every: Seconds from the end of a reading to the beginning of the next.
        may_change: True to emit records in each reading, since their values may have changed.
    """

    def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        gate, clock, known = announced_gate(), clock_for(None, scheduler), _Known(may_change)
        reading, waiting = SerialDisposable(), SerialDisposable()
        again = _again_async(read, known) if isinstance(first, AsyncIterable) else _again(read, known)

        def later() -> None:
            waiting.disposable = clock.call_later(every, lambda: follow(again, failed))

        def failed(error: Exception) -> None:
            _log.warning("the source cannot be read now", error=" ".join(describe(error).split()), again_after=every)
            later()

        def follow(ids: Observable[Any], on_error: Callable[[Exception], None]) -> None:
            with announcing(gate):
                reading.disposable = ids.subscribe(observer.on_next, on_error, later, scheduler=scheduler)

        def end() -> None:
            waiting.dispose()
            reading.dispose()

        remembered = as_observable(first).pipe(rx_ops.do_action(known.remember))
        follow(remembered, lambda error: observer.on_error(as_exception(error)))
        return Disposable(end)

    return reactivex.create(subscribe)


class _Known:
    """The IDs that were emitted. 1 and "1" are the same item."""

    def __init__(self, may_change: bool) -> None:
        self._may_change = may_change
        self._digests: set[bytes] = set()

    def remember(self, one: Any) -> None:
        """Remember an ID, or a record's ID."""
        self.add(one)

    def add(self, one: Any) -> bool:
        """Remember an ID, or a record's ID. Returns True if it was known, and need not be emitted again."""
        is_record = isinstance(one, Record)
        if is_record and self._may_change:
            return False
        text = str(one.id if is_record else one)
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        is_known = digest in self._digests
        self._digests.add(digest)
        return is_known


def _again(read: Callable[[], Any], known: _Known) -> Observable[Any]:
    def given() -> Iterator[Any]:
        return (one for one in read() if not known.add(one))

    # Made again for each subscription, since a generator can be used once only.
    return reactivex.defer(lambda _: from_blocking_iterable(_Iterated(given)))


def _again_async(read: Callable[[], Any], known: _Known) -> Observable[Any]:
    async def given() -> AsyncIterator[Any]:
        async for one in await asyncio.to_thread(read):
            if not known.add(one):
                yield one

    return reactivex.defer(lambda _: from_async_iterable(given()))


class _Iterated(Iterable[Any]):
    """The result of a function, which is called where the iteration runs."""

    def __init__(self, given: Callable[[], Iterator[Any]]) -> None:
        self._given = given

    def __iter__(self) -> Iterator[Any]:
        return self._given()
