"""The figures of a run as it goes: read from its live counts, without stopping it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from rxpipe.operators.stage_settings import StageStats
from rxpipe.run import Run

WINDOW = 10.0  # seconds that a rate goes by
_LEAST = 0.2  # seconds between two samples


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """A stage at one moment.

    Attributes:
        name: Its name.
        waiting: Items that wait for a slot or for their next attempt.
        running: Calls that run.
        slots: How many may run at once.
        done: Items that it finished.
        failed: Items that failed there.
        retried: Calls that were followed by another.
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
    rate: float | None
    latency: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A run at one moment.

    Attributes:
        seconds: How long it has lasted.
        total: How many items there will be, or None.
        taken: Items taken from the source.
        before: Items that had ended in earlier runs, which this one goes on with.
        written: Items whose row is committed.
        failed: Items that failed.
        in_flight: Items that are on their way.
        rate: Items that ended a second, lately; None if there was no time to tell.
        fraction: How much of the work is done, 0 to 1; None if there is no telling.
        left: Seconds until it is done, or None.
        stages: Each stage.
    """

    seconds: float
    total: int | None
    taken: int
    before: int
    written: int
    failed: int
    in_flight: int
    rate: float | None
    fraction: float | None
    left: float | None
    stages: tuple[StageFigures, ...]


class Meter:
    """Reads a run's figures, and remembers some to know how fast they change."""

    def __init__(self, run: Run, *, total: int | None, staged: bool) -> None:
        """Begin to watch a run.

        Args:
            run: The run.
            total: How many items its source has, if known.
            staged: Whether its stages run one after another: then nothing is written for most of the time, and the
                progress is that of the calls.
        """
        self._run = run
        self._total = total
        self._staged = staged
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, tuple[int, ...]]] = deque()
        self._sample()

    def read(self) -> Figures:
        """The figures now; from any thread."""
        with self._lock:
            rates = self._rates(self._sample())
        run = self._run
        written, failed, taken, before = run.written, run.failed, run.taken, sum(run.before)
        fraction = self._fraction(before + written + failed)
        return Figures(
            seconds=run.seconds,
            total=self._total,
            taken=taken,
            before=before,
            written=written,
            failed=failed,
            in_flight=max(0, run.in_flight),
            rate=rates[0],
            fraction=fraction,
            left=self._left(before + written + failed, rates[0], fraction),
            stages=tuple(_stage(stage, rate) for stage, rate in zip(run.stages, rates[1:], strict=True)),
        )

    def _sample(self) -> tuple[float, tuple[int, ...]]:
        run = self._run
        ended = run.written + run.failed
        now = run.seconds, (ended, *(stage.done + stage.failed for stage in run.stages))
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
        if not self._total:
            return None
        if not self._staged:
            return min(1.0, ended / self._total)
        stages = self._run.stages
        # A failed item skips the stages that are left: its calls there count as made.
        lost = sum(stage.failed * (len(stages) - place) for place, stage in enumerate(stages))
        return min(1.0, (sum(stage.done for stage in stages) + lost) / (self._total * len(stages)))

    def _left(self, ended: int, rate: float | None, fraction: float | None) -> float | None:
        if not fraction or self._total is None:
            return None
        if self._staged:
            return self._run.seconds * (1 - fraction) / fraction
        return max(0, self._total - ended) / rate if rate else None


def _stage(stage: StageStats, rate: float | None) -> StageFigures:
    # Read while they change: what is derived from several counts may be off by a call for a moment.
    ended = stage.ended
    return StageFigures(
        name=stage.name,
        waiting=max(0, stage.waiting),
        running=min(max(0, stage.running), int(stage.concurrency)),
        slots=int(stage.concurrency),
        done=stage.done,
        failed=stage.failed,
        retried=stage.retried,
        rate=rate,
        latency=stage.busy / ended if ended else None,
    )
