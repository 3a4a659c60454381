"""Checks that a run's store answers, and counts the items that wait in it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from rxpipe.errors import RxPipeError
from rxpipe.log_values import one_line
from rxpipe.store.queries.backlog import Backlog

SECONDS = 5.0  # least seconds between two looks
_REST = 50.0  # rests this many times as long as a look takes, so looks take at most 2% of a connection's time
_LATE = 10.0  # seconds after its due time that an answer may come


class BacklogReader(Protocol):
    """Reads the backlog of a store."""

    def backlog(self, run: int) -> Backlog:
        """Returns the items that wait in a run, and how long the oldest has waited."""
        ...


OpenReader = Callable[[], AbstractContextManager[BacklogReader]]


class StoreWatch:
    """Looks at a store every few seconds, on a thread, so that no reader has to wait for a database.

    A context manager. It looks while it is entered, after ``begin`` was called.

    Attributes:
        trouble: The error of the last look; empty if it succeeded.
    """

    def __init__(self, reader: OpenReader, *, now: Callable[[], float] = time.monotonic) -> None:
        """Describe the watch.

        Args:
            reader: Opens the store; called again after a failure.
            now: A monotonic clock, in seconds.
        """
        self._seen: tuple[Backlog, float] | None = None  # with its time, in one tuple, as other threads read it
        self.trouble = ""
        self._reader = reader
        self._now = now
        self._run: int | None = None
        self._due: float | None = None  # when the answer of the next look is late
        self._begun, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="rxpipe-store-watch", daemon=True)

    def begin(self, run: int) -> None:
        """Look at this run from now on."""
        self._run = run
        if self._due is None:
            self._due = self._now() + _LATE
        self._begun.set()

    @property
    def backlog(self) -> Backlog | None:
        """The backlog at the last successful look; None before the first."""
        return None if self._seen is None else self._seen[0]

    @property
    def lag(self) -> float | None:
        """Seconds that the oldest waiting item of the last look has waited by now; 0 if no item waited.

        None before the first successful look.
        """
        if self._seen is None:
            return None
        found, at = self._seen
        return found.lag + self._now() - at if found.ready else 0.0

    @property
    def reason(self) -> str:
        """Why nobody should count on the store; empty if the store answers."""
        if self.trouble:
            return f"the store does not answer: {self.trouble}"
        if self._due is not None and (late := self._now() - self._due) > 0:
            return f"the store has not answered for {late + _LATE:.0f} s"
        return ""

    def look(self, reader: BacklogReader) -> None:
        """Look once.

        Raises:
            RxPipeError: The store did not answer.
        """
        if self._run is not None:
            self._seen = reader.backlog(self._run), self._now()
            self.trouble = ""

    def __enter__(self) -> StoreWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._begun.set()
        self._thread.join(_LATE)  # a database that does not answer delays the end no longer than this

    def _watch(self) -> None:
        self._begun.wait()
        while not self._over.is_set():
            try:
                with self._reader() as reader:
                    while not self._over.is_set():
                        self._look_and_rest(reader)
            except RxPipeError as error:
                self.trouble = one_line(error)
                self._over.wait(SECONDS)

    def _look_and_rest(self, reader: BacklogReader) -> None:
        began = self._now()
        self.look(reader)
        rest = max(SECONDS, _REST * (self._now() - began))
        self._due = self._now() + rest + _LATE
        self._over.wait(rest)
