"""How an item ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal

from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.operators.core.running_call import Usage

T = TypeVar("T", covariant=True, default=Any)


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
    """

    id: int | str
    status: Literal["written", "failed", "cancelled"]
    value: T
    error: BaseException | None
    stage: str | None
    attempts: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What one stage did in a run.

    Attributes:
        name: The stage's name.
        concurrency: How many calls could run at once; in the end, where that adapts itself.
        done: Items that it finished.
        failed: Items that failed there.
        retried: Calls that failed and were followed by another.
        abandoned: Calls that timed out or were given up, on threads that could not be stopped.
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


@dataclass(frozen=True, slots=True)
class CommonError:
    """Items that failed in the same way.

    Attributes:
        stage: Where; ``database`` if it refused their rows.
        text: The error of the first of them.
        count: How many.
        same: Whether all had that very text; else theirs differ in numbers.
    """

    stage: str
    text: str
    count: int = 1
    same: bool = True


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
        errors: The commonest errors of items that failed, five at most.
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
    errors: tuple[CommonError, ...] = ()

    def __str__(self) -> str:
        """The report in a few short lines, for people."""
        if self.run is not None and self.finished and not self.taken:
            before = f"{self.written_before:,} written and {self.failed_before:,} failed before"
            return "\n".join([f"run {self.run}: nothing was left to do, {before}", *self._used_lines()])
        lines = [
            f"{self.taken:,} taken = {self.written:,} written + {self.failed:,} failed + {self.cancelled:,} cancelled",
            f"{self.seconds:,.2f} s, at most {self.most_in_flight:,} in flight",
            *map(_stage_line, self.stages),
        ]
        if self.run is not None:
            before = f"{self.written_before:,} written and {self.failed_before:,} failed before"
            lines.insert(1, f"run {self.run}: {before}, {'finished' if self.finished else 'not finished'}")
        if self.bottleneck is not None:
            lines.append(f"bottleneck: {self.bottleneck}")
        lines += map(_error_line, self.errors)
        return "\n".join([*lines, *self._used_lines()])

    def _used_lines(self) -> list[str]:
        if (used := self.usage_before + self.usage) == Usage():
            return []
        tokens = f"{used.prompt_tokens:,} prompt and {used.completion_tokens:,} completion tokens"
        return [f"used in all: {tokens}, cost {used.cost:.4g}"]

    @property
    def bottleneck(self) -> str | None:
        """The stage whose slots were busiest; None if nothing ran."""
        busiest = max(self.stages, key=lambda stage: stage.utilization, default=None)
        return busiest.name if busiest is not None and busiest.utilization > 0 else None


def _error_line(error: CommonError) -> str:
    stage = f" in {error.stage}" if error.stage else ""
    return f"{error.count:,} failed{stage}: {error.text}{'' if error.same else ' (and such)'}"


def _stage_line(stage: StageReport) -> str:
    counts = f"{stage.done:,} done, {stage.failed:,} failed, {stage.retried:,} retried"
    return f"{stage.name}: {counts}, {stage.utilization:.0%} of {stage.concurrency} slots used"
