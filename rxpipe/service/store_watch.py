"""Whether a run's store answers, and how many items wait in it and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from rxpipe.errors import RxPipeError
from rxpipe.log_values import one_line
from rxpipe.store.queries.backlog import Backlog

SECONDS = 5.0  # between two looks, at least
_REST = 50.0  # times as long as a look takes: so looks take 2% of a connection's time at most
_LATE = 10.0  # seconds beyond its time that an answer may take


class BacklogReader(Protocol):
    """Asks a store."""

    def backlog(self, run: int) -> Backlog:
        """What waits in a run, and for how long."""
        ...


OpenReader = Callable[[], AbstractContextManager[BacklogReader]]


class StoreWatch:
    """Looks at a store every few seconds, on a thread, so that nobody who asks has to wait for a database.

    A context manager; it looks while it is entered, from when ``begin`` was called on.

    Attributes:
        trouble: What the last look was answered with if it failed; empty if it did not.
    """

    def __init__(self, reader: OpenReader, *, now: Callable[[], float] = time.monotonic) -> None:
        """Describe it.

        Args:
            reader: Opens the store; asked again after a failure.
            now: A steady clock, in seconds.
        """
        self._seen: tuple[Backlog, float] | None = None  # and when; in one, as others read it
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
        """What waited at the last look that was answered; None before the first."""
        return None if self._seen is None else self._seen[0]

    @property
    def lag(self) -> float | None:
        """Seconds for which the oldest item that waited at the last look has been waiting; 0 if none did.

        None before the first look that was answered.
        """
        if self._seen is None:
            return None
        found, at = self._seen
        return found.lag + self._now() - at if found.ready else 0.0

    @property
    def reason(self) -> str:
        """Why nobody should count on the store; empty if it answers."""
        if self.trouble:
            return f"the store does not answer: {self.trouble}"
        if self._due is not None and (late := self._now() - self._due) > 0:
            return f"the store has not answered for {late + _LATE:.0f} s"
        return ""

    def look(self, reader: BacklogReader) -> None:
        """Ask it once.

        Raises:
            RxPipeError: It did not answer.
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
        self._thread.join(_LATE)  # a database that does not answer holds nobody up for longer

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
