"""How an item ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal

from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.insight.advice import Advice
from rxpipe.operators.core.running_call import Usage

Status = Literal["written", "failed", "dropped", "expanded", "collected", "cancelled"]

T = TypeVar("T", covariant=True, default=Any)

MOST_FAILURES = 1_000
"""Failures of children that one outcome tells: a million of them are not to be held until their parent ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an item came from, and what came of its children; most items have nothing of this.

    Attributes:
        parent: The ID of the item that it was made of, or None.
        record: The value that the source gave, or None.
        failures: How those of its children failed that did.
    """

    parent: int | str | None = None
    record: Any = None
    failures: tuple[Outcome[Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """How one item of a run ended; every ID taken, and every child of one, ends in exactly one of these.

    Attributes:
        id: The item's ID, as the source gave it; of a child its parent's, with its number behind a slash.
        status: ``written`` (its row is committed), ``failed``, ``dropped`` (a stage did not want it), ``expanded``
            (all of its children have ended), ``collected`` (a stage has made its parent of it and its siblings) or
            ``cancelled``.
        value: What the last stage returned; for an item that did not get that far, whatever it had become.
        error: Why it failed; the ``Drop`` if it was dropped; or None.
        stage: The stage where it failed, was dropped or cancelled, or None.
        attempts: How many calls were made for it, in all stages together.
        seconds: From being taken from the source to this outcome, in seconds.
        origin: What ``parent``, ``record`` and ``failures`` tell; None if that is nothing.
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
        """The ID of the item that it was made of, or None."""
        return None if self.origin is None else self.origin.parent

    @property
    def record(self) -> Any:
        """The value that the source gave with its ID, or that of its first parent; None if that was an ID alone."""
        return None if self.origin is None else self.origin.record

    @property
    def failures(self) -> tuple[Outcome[Any], ...]:
        """If it was expanded: how those of its children failed that did, and of theirs; 1,000 at most."""
        return () if self.origin is None else self.origin.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What one stage did in a run.

    Attributes:
        name: The stage's name.
        concurrency: How many calls could run at once; in the end, where that adapts itself.
        done: Items that it finished by a call.
        failed: Items that failed there.
        retried: Calls that failed and were followed by another.
        dropped: Items that were dropped there.
        sent_back: Items that were sent back from there.
        abandoned: Calls that timed out or were given up, on threads that could not be stopped.
        busy_seconds: How long its calls ran, added up.
        utilization: The share of its slots' time in which calls ran, 0 to 1.
        pushed_back: Calls that the server refused for now, as a 429 does, and that were made again.
        refusal: What the server said with the last of those; empty if there was none.
        usage: What its calls said that they used, added up.
        cached: Items that got the result of an earlier call instead of one of their own; see ``Stage(cache=True)``.
        saved: What those earlier calls had used, added up.
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
    """Items that failed in the same way, or were dropped for the same reason.

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
    """What a run did; ``taken + spawned == written + failed + dropped + expanded + collected + cancelled``.

    Attributes:
        taken: IDs taken from the source.
        spawned: Children that stages with ``expand`` have made.
        written: Items whose row was committed.
        failed: Items that failed, in a stage or because the database refused their row.
        dropped: Items that a stage has dropped.
        expanded: Items that ended with their children.
        collected: Children that ended in their parent.
        cancelled: Items that were on their way when the run was stopped, or that another worker has taken over.
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
        advice: What held the run up, and what a change would gain; None if nothing is known of that.
        saved: What results of earlier calls saved, which stages with ``cache`` used again, added up.
        missing: How many items are to be written yet, so that there are as many as ``until`` said; None without it.
        drops: The commonest reasons for which items were dropped, five at most.
        exhausted: Whether the source has given all that it has, and the run was not aborted.
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
        """The report in a few short lines, for people."""
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
        """How all items came and ended; what there is none of is left out, but for the commonest."""
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
        """The name of the stage or limit that held the others up; ``database``, ``file`` or ``source``; else None.

        None also if two are too close to call: ``advice`` has the names of both.
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
