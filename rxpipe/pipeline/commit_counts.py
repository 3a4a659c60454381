"""Counts the commits of a sink or a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rxpipe.operators.stages.times import Level

_SLOW = 10.0  # seconds after which a running commit counts as unanswered


class CommitCounts:
    """Counts commits, which run one at a time. Written by one thread at a time, read by any.

    Attributes:
        name: The target of the commits: ``database`` or ``file``.
        outcomes: Outcomes that were committed.
        commits: Number of transactions.
    """

    def __init__(self, name: str = "database", now: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.outcomes = 0
        self.commits = 0
        self._now = now
        self._busy = Level()
        self._began: float | None = None  # when the running commit began
        self._away_since: float | None = None

    @contextmanager
    def committing(self, outcomes: int) -> Generator[None]:
        """Count a commit of this many outcomes around the block. If the block raises, nothing was committed."""
        self._began = self._now()
        self._busy.set(1, self._began)
        try:
            yield
            self.commits += 1
            self.outcomes += outcomes
            self._away_since = None
        finally:
            self._began = None
            self._busy.set(0, self._now())

    def failed(self, lasted: float = 0.0) -> None:
        """The target does not answer. The next commit ends that state.

        Args:
            lasted: Seconds for which it has not answered already.
        """
        if self._away_since is None:
            self._away_since = self._now() - lasted

    @property
    def busy(self) -> float:
        """Total seconds spent in commits."""
        return self._busy.total(self._now())

    @property
    def away(self) -> float | None:
        """Seconds since the target stopped answering; None while it answers.

        A commit that runs for more than 10 seconds counts as unanswered, too. For example, another session may have
        locked the table: the commit fails only when its time is over.
        """
        now, since, began = self._now(), self._away_since, self._began
        if since is None and began is not None and now - began > _SLOW:
            since = began
        return None if since is None else now - since


@runtime_checkable
class CountedWrite(Protocol):
    """A result of ``Sink.open`` that counts its commits."""

    counts: CommitCounts
