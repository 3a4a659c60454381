"""What a listener may know of items and runs: read-only, and true at the moment at which it is read."""

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
    """An ID, or a child that a stage has made of one, on its way.

    One object stands for an item in all calls of a listener, so it can be a key. Two items with the same ID are two
    objects.
    """

    @property
    def id(self) -> int | str:
        """The ID, as the source gave it."""
        ...

    @property
    def attempts(self) -> int:
        """Calls made for it so far, in all stages together, a running one included."""
        ...

    @property
    def parent(self) -> ItemView | None:
        """The item that it was made of; None if it came from the source, or from a store without its parent."""
        ...

    @property
    def rounds(self) -> int:
        """How often it was sent back to an earlier stage."""
        ...

    @property
    def waited_downstream(self) -> float:
        """Seconds in which its call that has just ended waited for room for its values; 0 unless it gave many."""
        ...

    @property
    def context(self) -> Context | None:
        """That of whoever submitted it; where it came from a source, of whoever started the run."""
        ...


class StageView(Protocol):
    """The live counts of a run's stage."""

    @property
    def name(self) -> str:
        """The stage's name."""
        ...

    @property
    def concurrency(self) -> float:
        """How many calls may run at once; now, where that adapts itself."""
        ...

    @property
    def running(self) -> int:
        """Calls that run now, abandoned ones apart."""
        ...

    @property
    def waiting(self) -> int:
        """Items that wait for a slot or for their next attempt."""
        ...

    @property
    def done(self) -> int:
        """Items that it finished."""
        ...

    @property
    def failed(self) -> int:
        """Items that failed there."""
        ...

    @property
    def dropped(self) -> int:
        """Items that were dropped there."""
        ...

    @property
    def sent_back(self) -> int:
        """Items that were sent back from there."""
        ...

    @property
    def cached(self) -> int:
        """Items that got the result of an earlier call instead of one of their own."""
        ...

    @property
    def saved(self) -> Usage:
        """What those earlier calls had used, added up."""
        ...

    @property
    def retried(self) -> int:
        """Calls that failed and were followed by another."""
        ...

    @property
    def pushed_back(self) -> int:
        """Calls that the server refused for now, as a 429 does, and that were made again."""
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
        """What its calls said that they used, added up."""
        ...


class RunView(Protocol):
    """A run: live counts while it lasts."""

    @property
    def number(self) -> int | None:
        """The run's number in its store, or None."""
        ...

    @property
    def taken(self) -> int:
        """IDs taken from the source."""
        ...

    @property
    def spawned(self) -> int:
        """Children that its stages have made."""
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
        """Items that a stage has dropped."""
        ...

    @property
    def expanded(self) -> int:
        """Items that ended with their children."""
        ...

    @property
    def collected(self) -> int:
        """Children that ended in their parent."""
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
        """How long it has lasted."""
        ...

    @property
    def usage(self) -> Usage:
        """What its calls said that they used, added up."""
        ...

    @property
    def stages(self) -> Sequence[StageView]:
        """Each stage's live counts, in order."""
        ...

    def snapshot(self) -> Snapshot:
        """All of its numbers at this moment."""
        ...

    def snapshots(self, seconds: float = 1.0) -> Observable[Snapshot]:
        """Its numbers now, then every so many seconds, and once more when it is over."""
        ...

    @property
    def finished(self) -> Future[Report]:
        """Resolves to the report when every item has ended; raises what the run failed with."""
        ...
