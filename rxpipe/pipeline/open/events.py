"""What happens in an open pipeline, for whoever is subscribed while it happens."""

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
    """One thing that happened to an item.

    Attributes:
        kind: What: the item was taken, or a stage has made it; it ended; or a call started, returned or failed.
        id: The item's ID.
        parent: The ID of the item that it was made of; None if it was submitted.
        at: When, in seconds since 1970.
        stage: Of a call: the stage's name.
        attempts: Calls made for the item so far, in all stages together.
        error: Of a call that failed: with what.
        again: Of a call that failed: whether another one follows.
        outcome: Of an item that ended: how. Its ``status`` may also be ``dropped``, ``expanded`` or ``collected``.
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
    """A hot observable: what is published goes to those who are subscribed then, one value at a time.

    One who raises is told no more. They are notified on the threads that publish, which they hold up.

    Attributes:
        observable: To subscribe to.
    """

    def __init__(self) -> None:
        self.observable: Observable[T] = reactivex.create(self._subscribe)
        self._observers: tuple[ObserverBase[T], ...] = ()
        self._over = False
        self._error: Exception | None = None
        self._post = mailbox(_nothing, show_unhandled, None).post

    @property
    def is_watched(self) -> bool:
        """Whether anybody is subscribed."""
        return bool(self._observers)

    def publish(self, value: T) -> None:
        """Tell those who are subscribed; from any thread."""
        if self._observers:
            self._post(self._send, value)

    def end(self, error: Exception | None = None) -> None:
        """Tell them that nothing more comes."""
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
    """Publishes what it is told.

    Attributes:
        events: All that happens.
        outcomes: How items end, children included.
    """

    def __init__(self) -> None:
        self.events: Hot[Event] = Hot()
        self.outcomes: Hot[Outcome[Any]] = Hot()

    def taken(self, item: ItemView) -> None:
        """An ID was taken, or a child made."""
        self._publish("taken", item)

    def call_started(self, item: ItemView, stage: str) -> None:
        """A call starts."""
        self._publish("call_started", item, stage=stage)

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        """A call has returned, or failed."""
        kind: Kind = "call_returned" if error is None else "call_failed"
        self._publish(kind, item, stage=stage, error=error, again=again)

    def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
        """An item has ended."""
        self.outcomes.publish(outcome)
        self._publish("ended", item, outcome=outcome)

    def end(self, error: Exception | None) -> None:
        """Nothing more will happen."""
        self.outcomes.end(error)
        self.events.end(error)

    def _publish(self, kind: Kind, item: ItemView, **more: Any) -> None:
        if self.events.is_watched:  # an event costs more than all else here
            parent = None if item.parent is None else item.parent.id
            more |= {"at": time.time(), "attempts": item.attempts, "parent": parent}
            self.events.publish(Event(kind=kind, id=item.id, **more))
