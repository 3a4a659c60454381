"""Read-only views of items and runs, for listeners. Their values are those at the moment of reading."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextvars import Context
from typing import Protocol

from reactivex import Observable

from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.running_call import Usage
from rxpipe.pipeline.outcome import Report


class ItemView(Protocol):
    """An item on its way: an ID, or a child that a stage made.

    A listener gets the same object in all calls for an item, so you can use it as a key. Two items with the same ID are
    two objects.
    """

    @property
    def id(self) -> int | str:
        """The ID, as the source gave it."""
        ...

    @property
    def attempts(self) -> int:
        """Calls for the item so far, in all stages together, including a running call."""
        ...

    @property
    def parent(self) -> ItemView | None:
        """The parent; None if the item came from the source, or from a store without its parent."""
        ...

    @property
    def rounds(self) -> int:
        """Number of times that the item was sent back to an earlier stage."""
        ...

    @property
    def waited_downstream(self) -> float:
        """Seconds that the call that has just ended waited for room for its values; 0 without ``expand``."""
        ...

    @property
    def context(self) -> Context | None:
        """The context of the submitter. For an item from a source: the context that started the run."""
        ...


class StageView(Protocol):
    """The live counts of one stage."""

    @property
    def name(self) -> str:
        """The stage's name."""
        ...

    @property
    def concurrency(self) -> float:
        """Calls that may run at once. With ``AdaptiveConcurrency``: the number now."""
        ...

    @property
    def running(self) -> int:
        """Calls that run now, without abandoned ones."""
        ...

    @property
    def waiting(self) -> int:
        """Items that wait for a slot or for their next attempt."""
        ...

    @property
    def done(self) -> int:
        """Items that the stage finished."""
        ...

    @property
    def failed(self) -> int:
        """Items that failed in the stage."""
        ...

    @property
    def dropped(self) -> int:
        """Items that the stage dropped."""
        ...

    @property
    def sent_back(self) -> int:
        """Items that the stage sent back."""
        ...

    @property
    def cached(self) -> int:
        """Items that got the result of an earlier call instead of a call of their own."""
        ...

    @property
    def saved(self) -> Usage:
        """Total usage of those earlier calls."""
        ...

    @property
    def retried(self) -> int:
        """Failed calls that were followed by another attempt."""
        ...

    @property
    def pushed_back(self) -> int:
        """Calls that the server refused for now, as with a 429, and that were made again."""
        ...

    @property
    def abandoned(self) -> int:
        """Calls that timed out or were given up, on threads that could not be stopped."""
        ...

    @property
    def busy(self) -> float:
        """Total seconds spent in calls."""
        ...

    @property
    def usage(self) -> Usage:
        """Total usage that the calls recorded."""
        ...


class RunView(Protocol):
    """The live counts of a run."""

    @property
    def number(self) -> int | None:
        """The run's number in its store, or None."""
        ...

    @property
    def taken(self) -> int:
        """IDs and records taken from the source."""
        ...

    @property
    def spawned(self) -> int:
        """Children that stages made."""
        ...

    @property
    def written(self) -> int:
        """Items whose row is committed."""
        ...

    @property
    def failed(self) -> int:
        """Items that failed."""
        ...

    @property
    def dropped(self) -> int:
        """Items that a stage dropped."""
        ...

    @property
    def expanded(self) -> int:
        """Items that became children, all of which have ended."""
        ...

    @property
    def collected(self) -> int:
        """Children that are now part of their parent."""
        ...

    @property
    def cancelled(self) -> int:
        """Items that were cancelled."""
        ...

    @property
    def in_flight(self) -> int:
        """Items that are on their way now."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds since the start of the run, until its end."""
        ...

    @property
    def usage(self) -> Usage:
        """Total usage that the calls recorded."""
        ...

    @property
    def stages(self) -> Sequence[StageView]:
        """The live counts of each stage, in order."""
        ...

    def snapshot(self) -> Snapshot:
        """Returns all numbers of the run at this moment."""
        ...

    def snapshots(self, seconds: float = 1.0) -> Observable[Snapshot]:
        """Returns an observable of the numbers: now, then every ``seconds`` seconds, and once more at the end."""
        ...

    @property
    def finished(self) -> Future[Report]:
        """A future of the report. It resolves when every item has ended, and raises the error of a failed run."""
        ...
