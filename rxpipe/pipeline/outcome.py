"""How items and runs ended: ``Outcome`` and ``Report``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal

from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.insight.advice import Advice
from rxpipe.operators.core.running_call import Usage

Status = Literal["written", "failed", "dropped", "expanded", "collected", "cancelled"]

T = TypeVar("T", covariant=True, default=Any)

MOST_FAILURES = 1_000
"""The most failed children that one outcome lists.

A parent with a million children must not hold a million failures.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """An item's parent, record and failed children. Most items have none of these.

    Attributes:
        parent: The parent's ID, or None.
        record: The value that the source gave with the ID, or None.
        failures: The outcomes of failed children.
    """

    parent: int | str | None = None
    record: Any = None
    failures: tuple[Outcome[Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """How one item of a run ended. Every ID and every child ends in exactly one outcome.

    Attributes:
        id: The item's ID, as the source gave it. A child has its parent's ID, a slash and a number.
        status: How the item ended. ``written``: its row is committed. ``failed``: a stage failed for good, or the
            database refused the row. ``dropped``: a stage dropped it. ``expanded``: it became children, and all of
            them have ended. ``collected``: it was a child, and is now part of its parent. ``cancelled``: it was on its
            way when the run was stopped.
        value: The result of the last stage. For another item, the result of the last stage that it finished.
        error: The error if the item failed; the ``Drop`` if it was dropped; else None.
        stage: The stage where the item failed, was dropped or was cancelled; else None.
        attempts: Number of calls for the item, in all stages together.
        seconds: Seconds from taking the item to this outcome.
        origin: The source of ``parent``, ``record`` and ``failures``; None if the item has none of them.
    """

    id: int | str
    status: Status
    value: T
    error: BaseException | None
    stage: str | None
    attempts: int
    seconds: float
    origin: Origin | None = field(default=None, repr=False)

    @property
    def parent(self) -> int | str | None:
        """The parent's ID; None if the item is no child."""
        return None if self.origin is None else self.origin.parent

    @property
    def record(self) -> Any:
        """The value that the source gave with the ID.

        A child has the value of its topmost parent. None for an ID alone.
        """
        return None if self.origin is None else self.origin.record

    @property
    def failures(self) -> tuple[Outcome[Any], ...]:
        """The outcomes of failed children of an expanded item, and of their failed children; 1,000 at most."""
        return () if self.origin is None else self.origin.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """The numbers of one stage in a run.

    Attributes:
        name: The stage's name.
        concurrency: Calls that may run at once. With ``AdaptiveConcurrency``: the number at the end.
        done: Items that the stage finished with a call.
        failed: Items that failed in the stage.
        retried: Failed calls that were followed by another attempt.
        dropped: Items that the stage dropped.
        sent_back: Items that the stage sent back.
        abandoned: Calls that timed out or were given up, on threads that could not be stopped.
        busy_seconds: Total seconds spent in calls.
        utilization: The share of the slots' time that calls took, 0 to 1.
        pushed_back: Calls that the server refused for now, as with a 429, and that were made again.
        refusal: The server's text of the latest of these refusals; empty if there was none.
        usage: Total usage that the calls recorded.
        cached: Items that got the result of an earlier call instead of a call of their own; see ``Stage(cache=True)``.
        saved: Total usage of those earlier calls.
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
    dropped: int = 0
    sent_back: int = 0
    cached: int = 0
    saved: Usage = field(default_factory=Usage)
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class CommonError:
    """A group of items that failed in the same way, or were dropped for the same reason.

    Attributes:
        stage: The stage where they failed; ``database`` if the database refused their rows.
        text: The first item's error.
        count: Number of items.
        same: True if all items have exactly this text. False if their texts differ in details such as numbers.
    """

    stage: str
    text: str
    count: int = 1
    same: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The numbers of a run; ``taken + spawned == written + failed + dropped + expanded + collected + cancelled``.

    Attributes:
        taken: IDs and records taken from the source.
        spawned: Children that stages with ``expand`` made.
        written: Items whose row is committed.
        failed: Items that failed in a stage, or whose row the database refused.
        dropped: Items that a stage dropped.
        expanded: Items that became children, all of which have ended.
        collected: Children that are now part of their parent.
        cancelled: Items that were on their way when the run was stopped, or that another worker has taken over.
        run: The run's number in its store, or None.
        finished: True if the source was read to the end and no item is left. Only meaningful with a store.
        written_before: Items that earlier parts of this run have written. Used with a store.
        failed_before: Items that failed in earlier parts of this run.
        usage: Total usage that the calls of this part of the run recorded.
        usage_before: Total usage of earlier parts of this run.
        seconds: Seconds that the run took.
        first_seconds: Seconds until the first row was committed; None if there is no row.
        most_in_flight: The most items that were on their way at once. An item counts from its taking to its commit.
        stages: The report of each stage, in order.
        errors: The most common errors of failed items, five at most.
        advice: The bottleneck of the run, and the gain of a change; None if the bottleneck is unknown.
        saved: Total usage that stages with ``cache`` saved.
        missing: Rows that are missing from the number that ``until`` asked for; None without ``until``.
        drops: The most common reasons of drops, five at most.
        exhausted: True if the source has no more items and the run was not aborted.
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
    spawned: int = 0
    dropped: int = 0
    expanded: int = 0
    collected: int = 0
    drops: tuple[CommonError, ...] = ()
    missing: int | None = None
    saved: Usage = field(default_factory=Usage)
    exhausted: bool = True
    advice: Advice | None = None

    def __str__(self) -> str:
        """Returns the report in a few short lines, for people."""
        if self.run is not None and self.finished and not self.taken:
            before = f"{self.written_before:,} written and {self.failed_before:,} failed before"
            return "\n".join([f"run {self.run}: nothing was left to do, {before}", *self._used_lines()])
        lines = [
            self._sum(),
            f"{self.seconds:,.2f} s, at most {self.most_in_flight:,} in flight",
            *map(_stage_line, self.stages),
        ]
        if self.run is not None:
            before = f"{self.written_before:,} written and {self.failed_before:,} failed before"
            lines.insert(1, f"run {self.run}: {before}, {'finished' if self.finished else 'not finished'}")
        if self.missing:
            why = "the source has no more" if self.exhausted else "the run ended early"
            lines.append(f"{self.missing:,} rows are missing: {why}")
        if self.advice is not None and self.advice.name is not None:
            lines.append(self.advice.sentence)
        lines += [_error_line(error, "failed") for error in self.errors]
        lines += [_error_line(drop, "dropped") for drop in self.drops]
        return "\n".join([*lines, *self._used_lines()])

    def _sum(self) -> str:
        """Returns the line that adds up all items. Ends with a count of 0 are left out, except the most common ones."""
        came = f"{self.taken:,} taken" + (f" + {self.spawned:,} spawned" if self.spawned else "")
        rare = [
            f"{count:,} {name}"
            for name, count in (("dropped", self.dropped), ("expanded", self.expanded), ("collected", self.collected))
            if count
        ]
        ends = [f"{self.written:,} written", f"{self.failed:,} failed", *rare, f"{self.cancelled:,} cancelled"]
        return f"{came} = {' + '.join(ends)}"

    def _used_lines(self) -> list[str]:
        sums = ("used in all", self.usage_before + self.usage), ("saved by the cache", self.saved)
        return [f"{title}: {_used_text(used)}" for title, used in sums if used != Usage()]

    @property
    def bottleneck(self) -> str | None:
        """The stage or limit that slowed the run down, or ``database``, ``file`` or ``source``; None if unknown.

        None also if two are too close to tell. Then ``advice`` names both.
        """
        return None if self.advice is None or self.advice.other is not None else self.advice.name


def _used_text(used: Usage) -> str:
    tokens = f"{used.prompt_tokens:,} prompt and {used.completion_tokens:,} completion tokens"
    return f"{tokens}, cost {used.cost:.4g}"


def _error_line(error: CommonError, how: str) -> str:
    stage = f" in {error.stage}" if error.stage else ""
    text = f": {error.text}" if error.text else ""
    return f"{error.count:,} {how}{stage}{text}{'' if error.same else ' (numbers vary)'}"


def _stage_line(stage: StageReport) -> str:
    counts = f"{stage.done:,} done, {stage.failed:,} failed, {stage.retried:,} retried"
    if stage.dropped:
        counts += f", {stage.dropped:,} dropped"
    if stage.sent_back:
        counts += f", {stage.sent_back:,} sent back"
    if stage.cached:
        counts += f", {stage.cached:,} cached"
    return f"{stage.name}: {counts}, {stage.utilization:.0%} of {stage.concurrency} slots used"
