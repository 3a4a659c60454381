"""The entries of an open pipeline's queue, and their way into the stages."""

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
    """An ID that was submitted, once or several times, and has not ended.

    Attributes:
        taken: The ID or the record, as the stages get it.
        value: The argument of the first stage.
        submissions: The submissions that wait for the outcome.
        context: The context of the first submitter.
        room: Set when the ID is admitted; None if no thread waits for that.
        has_room: True if the ID is admitted, and has not left the stages.
        let_in_at: When the ID was admitted, by the run's clock.
        in_line: True if the ID has not entered the stages. With a store, its item may be there nevertheless.
        cancelled: True if the ID is no longer wanted.
        cut_off: The outcome of an item that its run has left unfinished.
        ended_elsewhere: The outcome in the store, while the item was still on its way here.
        following: An entry of the same ID, submitted again after a cancellation. It is admitted when this entry has
            ended.
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
        """Pass the outcome to the submitters, and wake a thread that waits for room."""
        for submission in self.submissions:
            submission.end(outcome)
        if self.room is not None:
            self.room.set()


class AdmittedIds(Producer[int | str | Record]):
    """The admitted IDs, on their way into the stages."""

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
        """Emit IDs as there is room."""
        while not self.over and self.may_emit():
            entry = self._take()
            if entry is None:
                self.give_back_place()
                break
            self.emit(entry.taken)
        if not self.over and self._is_over():
            self.end()

    def free(self) -> None:
        """Release the threads."""
        if self._threads is not None:
            self._threads.close()
