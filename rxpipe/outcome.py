"""How an item ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from rxpipe.operators.running_call import Usage

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """How one item of a run ended; every ID taken ends in exactly one of these.

    Attributes:
        id: The item's ID, as the source gave it.
        status: ``written`` (its row is committed), ``failed`` or ``cancelled``.
        value: What the last stage returned; for an item that did not get that far, whatever it had become.
        error: Why it failed, or None.
        stage: The stage where it failed or was cancelled, or None.
        attempts: How many calls were made for it, in all stages together.
        seconds: From being taken from the source to this outcome, in seconds.
        claim: Of a run with a store: what that knows the item by.
    """

    id: int | str
    status: Literal["written", "failed", "cancelled"]
    value: T
    error: BaseException | None
    stage: str | None
    attempts: int
    seconds: float
    claim: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What one stage did in a run.

    Attributes:
        name: The stage's name.
        concurrency: How many calls could run at once; in the end, where that adapts itself.
        done: Items that it finished.
        failed: Items that failed there.
        retried: Calls that failed and were followed by another.
        abandoned: Calls that timed out on a thread that could not be stopped.
        busy_seconds: How long its calls ran, added up.
        utilization: The share of its slots' time in which calls ran, 0 to 1.
        pushed_back: Calls that the server refused for now, as a 429 does, and that were made again.
        usage: What its calls said that they used, added up.
    """

    name: str
    concurrency: int
    done: int
    failed: int
    retried: int
    abandoned: int
    busy_seconds: float
    utilization: float
    pushed_back: int = 0
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run did; ``taken == written + failed + cancelled``.

    Attributes:
        taken: IDs taken from the source.
        written: Items whose row was committed.
        failed: Items that failed, in a stage or because the database refused their row.
        cancelled: Items that were on their way when the run was stopped.
        run: The run's number in its store, or None.
        finished: Of a run with a store: whether its source was read to the end, and nothing is left to do.
        written_before: Items that were written before, in earlier runs that this one goes on with.
        failed_before: Items that failed before, in those.
        usage: What this run's calls said that they used, added up.
        usage_before: What those of earlier runs used, which this one goes on with.
        seconds: How long the run took.
        first_seconds: How long it took until the first row was committed; None if none was.
        most_in_flight: The most items that were on their way at once, from being taken to being committed.
        stages: What each stage did, in order.
    """

    taken: int
    written: int
    failed: int
    cancelled: int
    seconds: float
    first_seconds: float | None
    most_in_flight: int
    stages: tuple[StageReport, ...]
    run: int | None = None
    finished: bool = True
    written_before: int = 0
    failed_before: int = 0
    usage: Usage = field(default_factory=Usage)
    usage_before: Usage = field(default_factory=Usage)

    @property
    def bottleneck(self) -> str | None:
        """The stage whose slots were busiest; None if nothing ran."""
        busiest = max(self.stages, key=lambda stage: stage.utilization, default=None)
        return busiest.name if busiest is not None and busiest.utilization > 0 else None
