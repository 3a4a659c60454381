"""What waits in the line before an open pipeline's stages, and how it goes in."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

from reactivex.abc import ObserverBase

from rxpipe.operators.core.machine import Producer
from rxpipe.operators.runners.thread_runner import ThreadRunner
from rxpipe.pipeline.open.submission import Submission
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.record import Record
from rxpipe.pipeline.run.item import Item


class Entry:
    """An ID that was submitted and has not ended, however often it was.

    Attributes:
        taken: The ID, or the record, as the stages get it.
        value: What the first stage is called with.
        submissions: Those that wait for its outcome.
        context: Of whoever submitted it first.
        room: Set when it is let in; there if a thread waits for that.
        has_room: Whether it is let in, and has not left the stages.
        let_in_at: When it was, by the run's clock.
        in_line: Whether it has not gone into the stages; with a store its item may be there nevertheless.
        cancelled: Whether nobody wants it any more.
        cut_off: The outcome of an item that its run has left unfinished.
        ended_elsewhere: How it has ended by the store, while its item was still on its way here.
        following: The same ID, submitted again after it was cancelled; it is let in when this one has ended so.
    """

    __slots__ = (
        "cancelled",
        "context",
        "cut_off",
        "ended_elsewhere",
        "following",
        "has_room",
        "id",
        "in_line",
        "item",
        "let_in_at",
        "room",
        "submissions",
        "taken",
        "value",
    )

    def __init__(self, taken: int | str | Record) -> None:
        self.taken = taken
        self.id = taken.id if isinstance(taken, Record) else taken
        self.value: Any = taken.value if isinstance(taken, Record) else taken
        self.submissions: dict[Submission, None] = {}
        self.context = contextvars.copy_context()
        self.item: Item | None = None
        self.room: threading.Event | None = None
        self.has_room = False
        self.let_in_at = 0.0
        self.in_line = True
        self.cancelled = False
        self.cut_off: Outcome[Any] | None = None
        self.ended_elsewhere: Outcome[Any] | None = None
        self.following: Entry | None = None

    def end(self, outcome: Outcome[Any] | Exception) -> None:
        """Tell those who wait, for the outcome or for room."""
        for submission in self.submissions:
            submission.end(outcome)
        if self.room is not None:
            self.room.set()


class AdmittedIds(Producer[int | str | Record]):
    """The IDs that are let in, on their way into the stages."""

    def __init__(
        self,
        take: Callable[[], Entry | None],
        is_over: Callable[[], bool],
        observer: ObserverBase[int | str | Record],
        threads: ThreadRunner | None,
    ) -> None:
        super().__init__(observer, threads)
        self._threads = threads
        self._take = take
        self._is_over = is_over

    def advance(self) -> None:
        """Send what may go."""
        while not self.over and self.may_emit():
            entry = self._take()
            if entry is None:
                self.give_back_place()
                break
            self.emit(entry.taken)
        if not self.over and self._is_over():
            self.end()

    def free(self) -> None:
        """Let go of the threads."""
        if self._threads is not None:
            self._threads.close()
