"""The figures of a comparison, as data and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rxpipe.devtools.compare.least_time import StagePlan, items_at_once, least_seconds
from rxpipe.devtools.compare.timeline import Timeline
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run.

    Attributes:
        strategy: How the stages were composed.
        scheduler: The scheduler that the stages ran on.
        slots: How many calls could run at once in each stage.
        report: The run's report. Its seconds are the wall time, from its beginning to the last commit.
        rows: Rows found in the run's database afterwards.
        expected_rows: Rows that should be there: one for each ID.
        bound: The least seconds that the run could have taken; None if no latency was given.
        speed_up: How many times faster it was than ``staged`` on the same scheduler; None if either did not end well.
        timeline: The times of calls and commits.
        error: The error that ended the run early, or None.
    """

    strategy: Strategy
    scheduler: Scheduler
    slots: tuple[int, ...]
    report: Report
    rows: int
    expected_rows: int
    bound: float | None
    speed_up: float | None
    timeline: Timeline
    error: str | None

    @property
    def name(self) -> str:
        """The strategy and the scheduler."""
        return f"{self.strategy} on {self.scheduler}"

    @property
    def is_complete(self) -> bool:
        """True if every item ended, written or failed, and has its row."""
        return self.error is None and not self.report.cancelled and self.rows == self.expected_rows

    @property
    def share(self) -> float | None:
        """The bound as a share of the run's time, at most 1; None if the share would mean nothing.

        It means nothing without a bound, or if items failed: these skip stages, or are tried again after a delay.
        """
        report = self.report
        undisturbed = self.is_complete and not report.failed and not any(stage.retried for stage in report.stages)
        return self.bound / report.seconds if self.bound and undisturbed and report.seconds else None

    @property
    def busy(self) -> float:
        """The share of all slots' time in which calls ran, 0 to 1. The slots are those of all stages together."""
        all_slots = self.slots[0] if self.strategy == "per_item" else sum(self.slots)
        slot_seconds = all_slots * self.report.seconds
        return sum(s.busy_seconds for s in self.timeline.stages) / slot_seconds if slot_seconds else 0.0

    @property
    def at_once(self) -> str:
        """How many calls could run at once: ``9``, or ``3+3+3`` if each stage has its own slots.

        With ``staged`` it is the number of one stage, or ``3 to 8`` if the stages differ.
        """
        least, most = min(self.slots), max(self.slots)
        if self.strategy != "per_stage":
            return str(most) if least == most else f"{least} to {most}"
        if len(self.slots) > 4:
            return f"{most} each" if least == most else f"{sum(self.slots)} in all"
        return "+".join(map(str, self.slots))

    @property
    def written(self) -> str:
        """How many rows were written, and how the other items ended, as text."""
        report = self.report
        text = str(report.written)
        if report.failed:
            text += f", {report.failed} failed"
        if report.cancelled or self.error:
            text += ", stopped"
        elif self.rows != self.expected_rows:
            text += f", {self.expected_rows - self.rows} rows lost"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The same work, done in every way.

    Attributes:
        count: How many items.
        stages: The stages that each item went through.
        rows: The runs: the three strategies on one scheduler, then on the other.
        simulated: True if the runs were only simulated.
    """

    count: int
    stages: tuple[StagePlan, ...]
    rows: tuple[Row, ...]
    simulated: bool = False

    @property
    def has_latency(self) -> bool:
        """True if any stage was given a latency. Otherwise the comparison is of rxpipe's overhead."""
        return any(stage.latency for stage in self.stages)

    def as_json(self) -> dict[str, Any]:
        """Returns the figures as plain data, for JSON, without the timelines."""
        return {
            "simulated": self.simulated,
            "count": self.count,
            "stages": [asdict(stage) for stage in self.stages],
            "runs": [
                {
                    "strategy": row.strategy,
                    "scheduler": row.scheduler,
                    "slots": list(row.slots),
                    "seconds": row.report.seconds,
                    "first_seconds": row.report.first_seconds,
                    "held": row.report.most_in_flight,
                    "written": row.report.written,
                    "failed": row.report.failed,
                    "bound": row.bound,
                    "speed_up": row.speed_up,
                    "complete": row.is_complete,
                    "error": row.error,
                }
                for row in self.rows
            ],
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """The headings of the table, which fits into 80 characters.

        The first column is text, the others are figures.
        """
        per_item = "of bound" if self.has_latency else "an item"
        return ("run", "at once", "time", "first row", "held", per_item, "speed-up", "rows")

    def cells(self, row: Row) -> tuple[str, ...]:
        """Returns the cells of a row of the table, one for each column."""
        report = row.report
        if self.has_latency:
            efficiency = "-" if row.share is None else f"{row.share:.1%}"
        else:
            efficiency = seconds_text(report.seconds / self.count)
        return (
            f"{row.strategy}, {row.scheduler}",
            row.at_once,
            seconds_text(report.seconds),
            "-" if report.first_seconds is None else seconds_text(report.first_seconds),
            str(report.most_in_flight),
            efficiency,
            "-" if row.speed_up is None else f"{row.speed_up:.2f}x",
            row.written,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Facts needed to read the table, in a sentence or two each."""
        slots = ", ".join(f"{stage.name} {stage.slots}" for stage in self.stages)
        total = items_at_once(self.stages)
        notes = [
            self._work(),
            f"Calls at once: staged and per_stage as configured ({slots}); per_item has {total} items on their way, "
            f"so {total} calls in all too, but these may all be of one stage.",
            "Time: from the start to the last commit. First row: when the first result was committed. Held: items "
            "taken from the source and not yet committed, at most. Speed-up: against staged on the same scheduler.",
            SIMULATED
            if self.simulated
            else "Every run wrote into a temporary database of its own, which is gone now; the config's database was "
            "not written to.",
        ]
        notes += [f"{row.name} was stopped by {row.error}" for row in self.rows if row.error]
        return tuple(notes)

    def _work(self) -> str:
        if not self.has_latency and self.simulated:
            return f"{items_text(self.count)}; calls take as long, and fail as often, as recorded ones."
        if not self.has_latency:
            return (
                f"{items_text(self.count)}; no latency was given, so this compares overhead: what rxpipe, the "
                "database and the functions themselves take."
            )
        latencies = ", ".join(f"{stage.name} {stage.latency:g} s" for stage in self.stages if stage.latency)
        bounds = ", ".join(
            f"{row.strategy} {seconds_text(least_seconds(row.strategy, self.stages, self.count))}"
            for row in self.rows[: len(self.rows) // 2]
        )
        takes = "a call takes" if self.simulated else "a call takes its function's own time and a latency:"
        return (
            f"{items_text(self.count)}; {takes} {latencies}. The bound is "
            f"the least time that these latencies allow: {bounds}."
        )


SIMULATED = (
    "Simulated, in virtual time: no function was called, and nothing was written. What functions, the database and "
    "rxpipe itself take is not in it, so both schedulers come out alike."
)


def items_text(count: int) -> str:
    """Returns a number of items as text."""
    return "1 item" if count == 1 else f"{count:,} items"


def seconds_text(seconds: float) -> str:
    """Returns a duration in about three figures: ``12.1 s``, ``0.18 s``, ``42 ms``, ``17 µs``."""
    if seconds >= 9.995:
        return f"{seconds:.1f} s"
    if seconds >= 0.0995:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.1f} ms" if seconds >= 0.001 else f"{seconds * 1e6:.0f} µs"
