"""The facts about a run of a store, for a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from rxpipe.cli.views.forecast import time_text
from rxpipe.insight.insight import insight_of
from rxpipe.insight.reading import RunRow, Timeline, WorkerRow
from rxpipe.insight.snapshot import Snapshot, StageSnapshot
from rxpipe.operators.core.running_call import Usage

_LEAST_IDLE = 0.1  # seconds; less is the start of a process


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """The facts about a run.

    Attributes:
        row: The run as in the list of runs.
        snapshot: The run's last numbers, with the most slots that each stage had at any one moment; None if no numbers
            were kept.
        sentence: The sentence about what held the run up.
        timeline: How many calls ran at each time.
        idle: Seconds between the beginning and the end of the run in which no process worked.
        usage: The tokens and the cost of the calls, by the stage's name.
    """

    row: RunRow
    snapshot: Snapshot | None
    sentence: str
    timeline: Timeline
    idle: float = 0.0
    usage: Mapping[str, Usage] = field(default_factory=dict[str, Usage])

    @property
    def title(self) -> str:
        """The run's number and name."""
        return f"run {self.row.number}, {self.row.name}"

    @property
    def written(self) -> int:
        """The number of rows."""
        return self.row.counts.get("written", 0)

    @property
    def elapsed(self) -> float:
        """The time from the beginning to the end of the run, in seconds."""
        return _end(self.row) - self.row.began_at

    @property
    def seconds(self) -> float:
        """How long processes worked on the run, in seconds."""
        return self.elapsed - self.idle

    @property
    def note(self) -> str:
        """What the duration leaves out; empty if it leaves out nothing."""
        if not self.idle:
            return ""
        return f"{time_text(self.seconds)}, without {time_text(self.idle)} in which no process worked"

    @property
    def rate(self) -> float | None:
        """Rows per second of work; None if that is unknown."""
        return self.written / self.seconds if self.seconds > 0 else None

    def stage(self, name: str) -> StageSnapshot | None:
        """Returns the numbers of a stage; None if there is no stage of this name."""
        stages = () if self.snapshot is None else self.snapshot.stages
        return next((stage for stage in stages if stage.name == name), None)


def with_most_slots(snapshots: Sequence[Snapshot]) -> Snapshot | None:
    """Returns the last snapshot, with the most slots that each stage had in any of them; None if there is none."""
    if not snapshots:
        return None
    most: dict[str, int] = {}
    for stage in (stage for snapshot in snapshots for stage in snapshot.stages):
        most[stage.name] = max(most.get(stage.name, 0), stage.concurrency or 0)
    stages = tuple(
        stage if stage.concurrency is None else replace(stage, concurrency=most[stage.name])
        for stage in snapshots[-1].stages
    )
    return replace(snapshots[-1], stages=stages)


def held_up_by(row: RunRow, snapshots: Sequence[Snapshot], workers: Sequence[WorkerRow]) -> str:
    """Returns the sentence about what held a run up: that of the run's end, if one was kept."""
    kept = snapshots[-1].finding if snapshots else None
    finding = kept or insight_of(snapshots).finding
    if finding.verdict == "unknown" and row.state == "finished" and one_after_the_other(workers):
        return f"made by {len(workers)} processes one after the other: each one's report says what held it up"
    return finding.sentence


def one_after_the_other(workers: Sequence[WorkerRow]) -> bool:
    """Returns True if several workers worked on a run, and never two of them at once."""
    spans = sorted((worker.began_at, _left(worker, worker.began_at)) for worker in workers)
    return len(spans) > 1 and all(early[1] <= late[0] for early, late in pairwise(spans))


def idle_seconds(row: RunRow, workers: Sequence[WorkerRow], timeline: Timeline) -> float:
    """Returns the seconds of a run in which no worker was at work.

    A killed worker leaves no time of its end. It was at work until its last heartbeat, and while its calls ran.
    """
    end = _end(row)
    spans = [(worker.began_at, _left(worker, end)) for worker in workers]
    for heights in timeline.heights or ():
        step = (end - row.began_at) / max(1, len(heights.running))
        began = (row.began_at + step * place for place, running in enumerate(heights.running) if running)
        spans += [(at, at + step) for at in began]
    idle, until = 0.0, row.began_at
    for at, left in (*sorted(spans), (end, end)):
        gap = min(at, end) - until
        idle += gap if gap >= _LEAST_IDLE else 0.0
        until = max(until, left)
    return idle if spans else 0.0


def _end(row: RunRow) -> float:
    return row.ended_at or row.active_at


def _left(worker: WorkerRow, otherwise: float) -> float:
    """Returns when a worker left the run; the other time if it is still there."""
    if worker.state == "stopped" and worker.ended_at is not None:
        return worker.ended_at
    return max(worker.heartbeat_at, otherwise) if worker.state == "alive" else worker.heartbeat_at
