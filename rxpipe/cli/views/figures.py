"""The figures of a run as it goes: read from its live counts, without stopping it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.settings import StageStats
from rxpipe.pipeline.run.run import Run

WINDOW = 10.0  # seconds that a rate goes by
_LEAST = 0.2  # seconds between two samples
_ENOUGH = 5  # items that have ended, to tell from what others will use


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """A stage at one moment.

    Attributes:
        name: Its name.
        waiting: Items that wait for a slot or for their next attempt.
        running: Calls that run.
        slots: How many may run at once; now, where that adapts itself.
        done: Items that it finished.
        failed: Items that failed there.
        retried: Calls that were followed by another.
        dropped: Items that it dropped.
        sent_back: Items that it sent back.
        cached: Items that got the result of an earlier call.
        pushed_back: Calls that the server refused for now, and that are made again.
        usage: What its calls used.
        rate: Items a second, lately; None if there was no time to tell.
        latency: Seconds that a call took on average; None before the first has ended.
    """

    name: str
    waiting: int
    running: int
    slots: int
    done: int
    failed: int
    retried: int
    dropped: int
    sent_back: int
    cached: int
    pushed_back: int
    usage: Usage
    rate: float | None
    latency: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A run at one moment.

    Attributes:
        seconds: How long it has lasted.
        total: How many items the source has, or None.
        expands: Whether items have children. Then nobody knows how many items there will be, and the progress is that
            of the source: how much of it is taken.
        taken: Items taken from the source.
        spawned: Children that were made of them.
        before: Items that had ended in earlier runs, which this one goes on with.
        written: Items whose row is committed.
        failed: Items that failed.
        dropped: Items that a stage has dropped.
        expanded: Items that ended with their children.
        collected: Children that ended in their parent.
        in_flight: Items that are on their way.
        rate: Items that ended a second, lately; None if there was no time to tell.
        fraction: How much of the work is done, 0 to 1; None if there is no telling.
        left: Seconds until it is done, or None.
        usage: What calls used, those of earlier runs that this one goes on with included.
        projected: What they will have used in the end, by what was used for those items that have ended; None if
            there is no telling.
        stages: Each stage.
    """

    seconds: float
    total: int | None
    expands: bool
    taken: int
    spawned: int
    before: int
    written: int
    failed: int
    dropped: int
    expanded: int
    collected: int
    in_flight: int
    rate: float | None
    fraction: float | None
    left: float | None
    usage: Usage
    projected: Usage | None
    stages: tuple[StageFigures, ...]


class Meter:
    """Reads a run's figures, and remembers some to know how fast they change."""

    def __init__(self, run: Run, *, total: int | None, staged: bool, expands: bool = False) -> None:
        """Begin to watch a run.

        Args:
            run: The run.
            total: How many items its source has, if known.
            staged: Whether its stages run one after another: then nothing is written for most of the time, and the
                progress is that of the calls.
            expands: Whether a stage makes children of items.
        """
        self._run = run
        self._total = total
        self._expands = expands
        self._staged = staged
        self._lock = threading.Lock()
        self._most = [0] * len(run.stages)  # slots that each stage had at once
        self._samples: deque[tuple[float, tuple[int, ...]]] = deque()
        self._sample()

    def read(self) -> Figures:
        """The figures now; from any thread."""
        with self._lock:
            rates = self._rates(self._sample())
            self._most = [
                max(most, int(one.concurrency)) for most, one in zip(self._most, self._run.stages, strict=True)
            ]
        run = self._run
        taken, before = run.taken, sum(run.before)
        ended = before + _ended(run)
        fraction = self._fraction(taken if self._expands else ended)
        usage = run.usage_before + run.usage
        return Figures(
            seconds=run.seconds,
            total=self._total,
            expands=self._expands,
            taken=taken,
            spawned=run.spawned,
            before=before,
            written=run.written,
            failed=run.failed,
            dropped=run.dropped,
            expanded=run.expanded,
            collected=run.collected,
            in_flight=max(0, run.in_flight),
            rate=rates[0],
            fraction=fraction,
            left=self._left(ended, rates[0], fraction),
            usage=usage,
            projected=self._projected(usage, ended),
            stages=tuple(map(_stage, run.stages, rates[1:], self._most)),
        )

    def _sample(self) -> tuple[float, tuple[int, ...]]:
        run = self._run
        now = run.seconds, (_ended(run), *(stage.finished + stage.cached for stage in run.stages))
        samples = self._samples
        if not samples or now[0] - samples[-1][0] >= _LEAST:
            samples.append(now)
        while len(samples) > 2 and now[0] - samples[1][0] >= WINDOW:
            samples.popleft()
        return now

    def _rates(self, now: tuple[float, tuple[int, ...]]) -> Sequence[float | None]:
        seconds, counts = self._samples[0]
        elapsed = now[0] - seconds
        if elapsed < _LEAST:
            return [None] * len(counts)
        return [(after - before) / elapsed for before, after in zip(counts, now[1], strict=True)]

    def _fraction(self, ended: int) -> float | None:
        if not self._total or (self._expands and any(self._run.before)):  # those before may have been children
            return None
        if not self._staged:
            return min(1.0, ended / self._total)
        stages = self._run.stages
        # An item that failed or was dropped skips the stages that are left: its calls there count as made.
        lost = sum((stage.failed + stage.dropped) * (len(stages) - index) for index, stage in enumerate(stages))
        return min(1.0, (sum(stage.done for stage in stages) + lost) / (self._total * len(stages)))

    def _left(self, ended: int, rate: float | None, fraction: float | None) -> float | None:
        if not fraction or self._total is None or self._expands:
            return None
        if self._staged:
            return self._run.seconds * (1 - fraction) / fraction
        return max(0, self._total - ended) / rate if rate else None

    def _projected(self, usage: Usage, ended: int) -> Usage | None:
        if ended < _ENOUGH or not self._total or ended >= self._total or self._expands:
            return None
        times = self._total / ended
        return Usage(
            prompt_tokens=round(usage.prompt_tokens * times),
            completion_tokens=round(usage.completion_tokens * times),
            cost=usage.cost * times,
        )


def _ended(run: Run) -> int:
    return run.written + run.failed + run.dropped + run.expanded + run.collected


def _stage(stage: StageStats, rate: float | None, most: int) -> StageFigures:
    # Read while they change: what is derived from several counts may be off by a call for a moment. But where there
    # are fewer slots than before, calls do run beyond them.
    ended = stage.ended
    return StageFigures(
        name=stage.name,
        waiting=max(0, stage.waiting),
        running=min(max(0, stage.running), most),
        slots=int(stage.concurrency),
        done=stage.done,
        failed=stage.failed,
        retried=stage.retried,
        dropped=stage.dropped,
        sent_back=stage.sent_back,
        cached=stage.cached,
        pushed_back=stage.pushed_back,
        usage=stage.usage,
        rate=rate,
        latency=stage.busy / ended if ended else None,
    )
