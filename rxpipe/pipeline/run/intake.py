"""The intake of a run: takes IDs from the source."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import structlog
from reactivex.abc import DisposableBase, ObservableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable

from rxpipe.operators.core.clock import Clock, guarded, scheduler_to_wait_on
from rxpipe.operators.core.machine import Machine, as_exception
from rxpipe.operators.sources import when_subscribed
from rxpipe.operators.stages.durations import Durations
from rxpipe.operators.stages.times import Level
from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.record import Record, check_id
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.quota import Quota

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_MANY_IDS = 100  # warn if more IDs wait; a source that pauses leaves at most ``ahead``: 1, or up to 64 with a store


class Takes(Protocol):
    """The run, as the intake sees it."""

    def take(self, taken: int | str | Record | Claim) -> Item | None:
        """Take an ID from the source. Returns ``None`` if the run was already over."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock of the run."""
        ...

    @property
    def quota(self) -> Quota | None:
        """The number of items to write; None for all."""
        ...

    def may_complete(self, wake: Callable[[], None]) -> bool:
        """Returns True if the stages may complete. If not yet, ``wake`` is called when they may."""
        ...

    def fail(self, error: Exception) -> None:
        """Let the run fail with this error when all items have ended."""
        ...


class Intake(Machine[Any, Item]):
    """Takes an ID when there is room for it. Takes no more once it is stopped.

    Attributes:
        waited: 1 while there is room for an ID and the source gives none; else 0.
        waits: How long each of these waits for an ID lasted. The waits for the first ID and for the end do not count,
            since they do not come again.
    """

    def __init__(self, run: Takes, limit: float, ahead: int, observer: ObserverBase[Item]) -> None:
        super().__init__(observer, ahead, slack=max(1, ahead // 2))
        self._run = run
        self._limit = limit
        self._inside = 0
        self._ids: deque[int | str | Record | Claim] = deque()
        self._iterator: Iterator[Any] | None = None
        self._warned = False
        self._completed = False
        self._now, self.waited = run.clock.now, Level()
        self.waits = Durations()
        self._waits_since = 0.0
        self._has_begun = False

    def subscribe_to(self, source: ObservableBase[Any], scheduler: SchedulerBase | None) -> DisposableBase:
        """Subscribe to the source, and begin to wait for it."""
        subscription = super().subscribe_to(source, scheduler)
        self.wake()
        return subscription

    def pull_from(self, ids: Iterable[Any], scheduler: SchedulerBase | None) -> DisposableBase:
        """Take the IDs of a collection, one whenever there is room, instead of those of an Observable."""
        try:
            self._iterator = iter(ids)
        except BaseException as error:  # noqa: BLE001 - the collection's failure, as below
            self.post(self.source_failed, as_exception(error))
        return CompositeDisposable(when_subscribed(self.wake, scheduler_to_wait_on(scheduler)), self)

    def _pull(self) -> bool:
        """Take an ID from the collection if none waits. Returns True if an ID waits."""
        if self._iterator is not None and not self._ids:
            try:
                value = next(self._iterator)
            except StopIteration:
                self.source_completed()
            except BaseException as error:  # noqa: BLE001 - the collection's failure, whatever it is, is the source's
                self.source_failed(as_exception(error))
            else:
                self.gate.admitted += 1
                self.arrive(value)
        return bool(self._ids)

    def arrive(self, value: Any) -> None:
        """Queue an ID."""
        if self.source_done:
            return
        error = None if isinstance(value, Claim) else check_id(value)
        if error is not None:
            self._upstream.dispose()
            self.source_failed(error)
            return
        if self.waited.now:
            self._note_end_of_wait()
        self._has_begun = True
        self._ids.append(value)
        if len(self._ids) > _MANY_IDS and not self._warned:
            self._warned = True
            _log.warning(
                "source ignores backpressure, its IDs queue without bound",
                hint="use an iterable or rxpipe.from_iterable, or ops.overflow for a source that cannot pause",
            )

    def source_failed(self, error: Exception) -> None:
        """Let the items on their way finish before the run fails."""
        self._run.fail(error)
        self._take_no_more()

    def stop(self) -> None:
        """Take no more IDs. From any thread."""
        guarded(self._upstream.dispose)  # a user's source may raise here, but the run must end all the same
        self.post(self._stop)

    def _stop(self) -> None:
        self._completed = self.is_exhausted
        self._ids.clear()
        self._take_no_more()

    def source_completed(self) -> None:
        """There are no more IDs."""
        self._completed = self._completed or not self.source_done
        self._take_no_more()

    def _take_no_more(self) -> None:
        super().source_completed()
        self._iterator = None

    @property
    def is_exhausted(self) -> bool:
        """True if the source has no more items, and all of its items were taken."""
        return self._completed and not self._ids

    def make_room(self) -> None:
        """An item has gone on to the sink. From any thread."""
        self.post(self._make_room)

    def _make_room(self) -> None:
        self._inside -= 1

    def advance(self) -> None:
        """Let IDs in."""
        quota = self._run.quota
        while (self._ids or self._iterator) and not self.over and self._inside < self._limit:
            if (quota is not None and not quota.may_begin(self._woken)) or not self.may_emit():
                break
            item = self._run.take(self._ids.popleft()) if self._pull() else None
            if item is None:
                self.give_back_place()
                break
            self._inside += 1
            self.emit(item)
            self.gate.release()
        if self._iterator is None:  # a collection never makes the intake wait
            self._note_waiting()
        if self.source_done and not self._ids and self._run.may_complete(self._woken):
            self.end()

    def _note_waiting(self) -> None:
        is_idle = not (self._ids or self._iterator or self.source_done or self.over)
        waits = int(is_idle and self._inside < self._limit and self._has_room())
        if waits != self.waited.now:
            self._waits_since = self._now()
            self.waited.set(waits, self._waits_since)

    def _note_end_of_wait(self) -> None:
        now = self._now()
        if self._has_begun:
            self.waits.add(now - self._waits_since)
        self._waits_since = now

    def _has_room(self) -> bool:
        """Returns True if there is room downstream. If not, ``advance`` runs again when there is."""
        gate = self._downstream
        return gate is None or gate.has_room or gate.wait(self._woken)

    def free(self) -> None:
        """Forget the IDs that were not taken."""
        self._ids.clear()
        self._iterator = None
