"""What a sink or a store commits, counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rxpipe.operators.stages.times import Level


class CommitCounts:
    """Counts commits, of which one runs at a time. Written by one thread at a time, read by any.

    Attributes:
        name: What is written to: ``database`` or ``file``.
        outcomes: Outcomes that were committed.
        commits: Transactions.
    """

    def __init__(self, name: str = "database", now: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.outcomes = 0
        self.commits = 0
        self._now = now
        self._busy = Level()
        self._away_since: float | None = None

    @contextmanager
    def committing(self, outcomes: int) -> Generator[None]:
        """A commit of so many outcomes runs inside; if that raises, nothing was committed."""
        self._busy.set(1, self._now())
        try:
            yield
            self.commits += 1
            self.outcomes += outcomes
            self._away_since = None
        finally:
            self._busy.set(0, self._now())

    def failed(self) -> None:
        """What is written to does not answer; it does with the next commit."""
        if self._away_since is None:
            self._away_since = self._now()

    @property
    def busy(self) -> float:
        """Seconds in which commits ran."""
        return self._busy.total(self._now())

    @property
    def away(self) -> float | None:
        """For how long it has not answered, in seconds; None while it does."""
        since = self._away_since
        return None if since is None else self._now() - since


@runtime_checkable
class CountedWrite(Protocol):
    """What ``Sink.open`` gives, where it counts its commits."""

    counts: CommitCounts
