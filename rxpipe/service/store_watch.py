"""Whether a run's store answers, and how many items wait in it and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from rxpipe.errors import RxPipeError
from rxpipe.log_values import one_line
from rxpipe.store.queries.backlog import Backlog

SECONDS = 5.0  # between two looks, at least
_REST = 50.0  # times as long as a look takes: so looks take 2% of a connection's time at most
_LATE = 10.0  # seconds beyond its time that an answer may take
_MARKS = 64  # items whose wait is followed, at most


class BacklogReader(Protocol):
    """Asks a store."""

    def backlog(self, run: int, asked: Sequence[str] = ()) -> Backlog:
        """What waits in a run, and which of some items that waited before still do."""
        ...


OpenReader = Callable[[], AbstractContextManager[BacklogReader]]


class Lag:
    """For how long an item has been waiting: at least, as far as this process has seen.

    The store does not know since when an item waits. So the first and the last item that wait are marked at each look,
    with the time, and the oldest mark whose item still waits tells.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._marks: dict[str, float] = {}  # the oldest first

    @property
    def asked(self) -> list[str]:
        """The keys of the items that are marked."""
        return list(self._marks)

    def add(self, backlog: Backlog) -> None:
        """A look found this, asked for the items that are marked."""
        now = self._now()
        marks = {key: at for key, at in self._marks.items() if key in backlog.still_ready}
        marks |= {key: now for key in sorted(backlog.ends) if key not in marks}
        while len(marks) > _MARKS:
            kept = list(marks)[::2]
            marks = {key: marks[key] for key in kept}
        self._marks = marks

    @property
    def seconds(self) -> float:
        """Seconds that the oldest of them has been waiting; 0 if none waits."""
        oldest = next(iter(self._marks.values()), None)
        return 0.0 if oldest is None else self._now() - oldest


class StoreWatch:
    """Looks at a store every few seconds, on a thread, so that nobody who asks has to wait for a database.

    A context manager; it looks while it is entered, from when ``begin`` was called on.

    Attributes:
        backlog: What waited at the last look that was answered; None before the first.
        trouble: What the last look was answered with if it failed; empty if it did not.
    """

    def __init__(self, reader: OpenReader, *, now: Callable[[], float] = time.monotonic) -> None:
        """Describe it.

        Args:
            reader: Opens the store; asked again after a failure.
            now: A steady clock, in seconds.
        """
        self.backlog: Backlog | None = None
        self.trouble = ""
        self._lag = Lag(now)
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
    def lag(self) -> float | None:
        """Seconds for which an item has been waiting, at least; None before the first answer."""
        return None if self.backlog is None else self._lag.seconds

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
            self.backlog = found = reader.backlog(self._run, self._lag.asked)
            self._lag.add(found)
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
