"""The events of an open pipeline, published to its present subscribers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import reactivex
import structlog
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxpipe.operators.core.clock import guarded, show_unhandled
from rxpipe.operators.core.mailbox import mailbox
from rxpipe.operators.errors import describe
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.open.submission import TELLING
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.views import ItemView

T = TypeVar("T")
Kind = Literal["taken", "call_started", "call_returned", "call_failed", "ended"]

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of an item.

    Attributes:
        kind: The event: the item was taken, or a stage made it; a call started, returned or failed; the item ended.
        id: The item's ID.
        parent: The parent's ID; None if the item was submitted.
        at: The time, in seconds since 1970.
        stage: The stage's name, for events of calls.
        attempts: Calls for the item so far, in all stages together.
        error: The error of a failed call.
        again: True if another attempt follows the failed call.
        outcome: The outcome of an item that ended, with any ``status``.
    """

    kind: Kind
    id: int | str
    at: float
    stage: str | None = None
    attempts: int = 0
    error: BaseException | None = None
    again: bool = False
    outcome: Outcome[Any] | None = None
    parent: int | str | None = None


class Hot(Generic[T]):
    """A hot observable: each value goes to the present subscribers, one value at a time.

    A subscriber that raises receives no more values. Subscribers are notified on the threads that publish; those wait
    for them.

    Attributes:
        observable: The observable to subscribe to.
    """

    def __init__(self) -> None:
        self.observable: Observable[T] = reactivex.create(self._subscribe)
        self._observers: tuple[ObserverBase[T], ...] = ()
        self._over = False
        self._error: Exception | None = None
        self._post = mailbox(_nothing, show_unhandled, None).post

    @property
    def is_watched(self) -> bool:
        """True if there are subscribers."""
        return bool(self._observers)

    def publish(self, value: T) -> None:
        """Notify the present subscribers. From any thread."""
        if self._observers:
            self._post(self._send, value)

    def end(self, error: Exception | None = None) -> None:
        """Complete the observable, or end it with an error."""
        self._post(self._end, error)

    def _subscribe(self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None) -> DisposableBase:
        self._post(self._add, observer)
        return Disposable(lambda: self._post(self._remove, observer))

    def _add(self, observer: ObserverBase[T]) -> None:
        if not self._over:
            self._observers = (*self._observers, observer)
        elif self._error is None:
            observer.on_completed()
        else:
            observer.on_error(self._error)

    def _remove(self, observer: ObserverBase[T]) -> None:
        self._observers = tuple(one for one in self._observers if one is not observer)

    def _send(self, value: T) -> None:
        was_telling, TELLING.now = TELLING.now, True
        for observer in self._observers:
            try:
                observer.on_next(value)
            except BaseException as error:  # noqa: BLE001 - whatever one subscriber raises is not the others' affair
                self._remove(observer)
                guarded(partial(_log.warning, "subscriber failed, and is told no more", error=describe(error)))
        TELLING.now = was_telling

    def _end(self, error: Exception | None) -> None:
        observers, self._observers = self._observers, ()
        self._over, self._error = True, error
        for observer in observers:
            try:
                observer.on_completed() if error is None else observer.on_error(error)
            except BaseException as unhandled:  # noqa: BLE001 - as above
                show_unhandled(unhandled)


def _nothing() -> None:
    pass


class Events(Listener):
    """Publishes the events of items.

    Attributes:
        events: All events.
        outcomes: The outcomes of all items, including children.
    """

    def __init__(self) -> None:
        self.events: Hot[Event] = Hot()
        self.outcomes: Hot[Outcome[Any]] = Hot()

    def taken(self, item: ItemView) -> None:
        """An ID was taken, or a child was made."""
        self._publish("taken", item)

    def call_started(self, item: ItemView, stage: str) -> None:
        """A call starts."""
        self._publish("call_started", item, stage=stage)

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        """A call has returned or failed."""
        kind: Kind = "call_returned" if error is None else "call_failed"
        self._publish(kind, item, stage=stage, error=error, again=again)

    def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
        """An item has ended."""
        self.outcomes.publish(outcome)
        self._publish("ended", item, outcome=outcome)

    def end(self, error: Exception | None) -> None:
        """No more events will come."""
        self.outcomes.end(error)
        self.events.end(error)

    def _publish(self, kind: Kind, item: ItemView, **more: Any) -> None:
        if self.events.is_watched:  # making an event costs more than everything else here
            parent = None if item.parent is None else item.parent.id
            more |= {"at": time.time(), "attempts": item.attempts, "parent": parent}
            self.events.publish(Event(kind=kind, id=item.id, **more))
