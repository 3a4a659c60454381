"""The figures of a run on a screen: a snapshot, and how fast its numbers change."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rxpipe.insight.failing import all_failing, failing_text
from rxpipe.insight.insight import insight_of
from rxpipe.insight.outlook import Outlook
from rxpipe.insight.snapshot import Snapshot, StageSnapshot
from rxpipe.insight.window import History
from rxpipe.operators.core.running_call import Usage

WINDOW = 10.0  # seconds that a rate is computed over
_LEAST = 0.2  # seconds between two samples
_LOOKS = 1.0  # seconds between two looks at what holds the run up
_ENOUGH = 5  # ended items needed to estimate the usage of the others


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """A stage at one moment.

    Attributes:
        name: The stage's name.
        waiting: Items that wait for a slot or for their next attempt.
        running: Calls that run.
        slots: How many calls may run at once now; None for no bound.
        done: Items that the stage finished.
        failed: Items that failed in the stage.
        retried: Failed calls that were followed by another attempt.
        dropped: Items that the stage dropped.
        sent_back: Items that the stage sent back.
        cached: Items that got the result of an earlier call.
        pushed_back: Calls that the server refused for now, and that are made again.
        refusal: The server's text in the last refusal; empty if there was none.
        usage: The tokens and the cost of the stage's calls.
        rate: Items a second, lately; None if too little time has passed.
        latency: Mean seconds of a call; None before the first call has ended.
    """

    name: str
    waiting: int
    running: int
    slots: int | None
    done: int
    failed: int
    retried: int
    dropped: int
    sent_back: int
    cached: int
    pushed_back: int
    refusal: str
    usage: Usage
    rate: float | None
    latency: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A run at one moment.

    Attributes:
        seconds: Seconds since the run began.
        total: How many items the source has, or None. Also None as soon as more items have come, as with submitted
            items.
        expands: True if items have children. Then the number of items is unknown in advance, and the progress is how
            much of the source is taken.
        taken: Items taken from the source.
        spawned: Children that items were expanded into.
        before: Items that ended in earlier runs, which this run continues.
        written: Items whose row is committed.
        failed: Items that failed.
        dropped: Items that a stage has dropped.
        expanded: Items that ended with their children.
        collected: Children that ended in their parent.
        in_flight: Items that are on their way.
        rate: Items that ended a second, lately; None if too little time has passed.
        fraction: The finished part of the work, 0 to 1; None if unknown.
        left: Seconds until the run is done, by the recent rate of ended items; None if unknown.
        outlook: The time left and the cost by simulations; None if there are none yet.
        usage: The tokens and the cost of calls, including those of earlier runs that this run continues.
        projected: The usage at the end of the run, estimated from the items that have ended; None if unknown.
        stages: The figures of each stage.
        advice: What holds the run up, and what a change would gain; empty if unknown.
        stalls: A sentence for each part of the run that stands still.
        failing: A sentence that all items of a stage fail, with their error; empty if some items do not fail.
        waits: True if nothing is left to do, and the run stays for new items.
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
    outlook: Outlook | None
    usage: Usage
    projected: Usage | None
    stages: tuple[StageFigures, ...]
    advice: str = ""
    stalls: tuple[str, ...] = ()
    failing: str = ""
    waits: bool = False


class Meter:
    """Reads a run's figures, and remembers some to know how fast they change.

    Attributes:
        stays: True if the run goes on when nothing is left to do.
    """

    def __init__(
        self, snapshot: Callable[[], Snapshot], *, total: int | None, expands: bool = False, stays: bool = False
    ) -> None:
        """Begin to watch a run.

        Args:
            snapshot: Returns the run's numbers.
            total: How many items the source has, if known.
            expands: True if a stage makes children of items.
            stays: True if the run goes on when nothing is left to do.
        """
        self._snapshot = snapshot
        self._total = total
        self._expands = expands
        self.stays = stays
        self._lock = threading.Lock()
        self._most: dict[str, int] = {}  # the most slots that each stage had at once
        self._history = History()
        self._advice, self._stalls = "", tuple[str, ...]()
        self._looked_at = float("-inf")
        self._samples: deque[tuple[float, tuple[int, ...]]] = deque()
        self._sample()

    def read(self) -> Figures:
        """Returns the figures now. May be called from any thread."""
        with self._lock:
            run = self._sample()
            rates = self._rates(run)
            self._look(run)
            for stage in run.stages:
                self._most[stage.name] = max(self._most.get(stage.name, 0), stage.concurrency or stage.running)
        before = run.written_before + run.failed_before
        ended = before + _ended(run)
        total = self._total_of(run)
        fraction = self._fraction(run, run.taken if self._expands else ended, total)
        usage = run.usage_before + run.usage
        is_exceeded = total is None and self._total is not None
        error = all_failing(run)
        return Figures(
            seconds=run.elapsed,
            total=total,
            expands=self._expands,
            taken=run.taken,
            spawned=run.spawned,
            before=before,
            written=run.written,
            failed=run.failed,
            dropped=run.dropped,
            expanded=run.expanded,
            collected=run.collected,
            in_flight=run.in_flight,
            rate=rates[0],
            fraction=fraction,
            left=self._left(run, ended, rates[0], fraction, total),
            outlook=None if is_exceeded else run.outlook,
            usage=usage,
            projected=self._projected(usage, ended, total),
            stages=tuple(
                _stage(stage, rate, self._most[stage.name]) for stage, rate in zip(run.stages, rates[1:], strict=True)
            ),
            advice=self._advice,
            stalls=self._stalls,
            failing="" if error is None else failing_text(error),
            waits=self.stays and not run.in_flight and run.state == "running",
        )

    def _look(self, run: Snapshot) -> None:
        if run.finding is not None:  # the run is over, and has recorded its finding
            is_told = run.finding.verdict in ("found", "close")
            self._advice, self._stalls = run.finding.sentence if is_told else "", ()
            return
        if run.elapsed - self._looked_at < _LOOKS:
            return
        self._looked_at = run.elapsed
        insight = insight_of(self._history.add(run))
        self._advice = "" if insight.advice.name is None else insight.advice.sentence
        self._stalls = tuple(stall.sentence for stall in insight.stalls)

    def _sample(self) -> Snapshot:
        run = self._snapshot()
        samples = self._samples
        if not samples or run.elapsed - samples[-1][0] >= _LEAST:
            samples.append((run.elapsed, _counts(run)))
        while len(samples) > 2 and run.elapsed - samples[1][0] >= WINDOW:
            samples.popleft()
        return run

    def _rates(self, run: Snapshot) -> Sequence[float | None]:
        seconds, before = self._samples[0]
        elapsed = run.elapsed - seconds
        if elapsed < _LEAST:
            return [None] * len(before)
        return [(now - then) / elapsed for then, now in zip(before, _counts(run), strict=True)]

    def _total_of(self, run: Snapshot) -> int | None:
        """Returns how many items there are; None if submitted items make them more than the source has."""
        known = run.taken + (0 if self._expands else run.written_before + run.failed_before)
        return None if self._total is None or known > self._total else self._total

    def _fraction(self, run: Snapshot, ended: int, total: int | None) -> float | None:
        has_before = run.written_before or run.failed_before
        if not total or (self._expands and has_before):  # earlier items may have been children
            return None
        if run.strategy != "staged":
            return min(1.0, ended / total)
        # For most of the time nothing is written, so the progress is that of the calls. An item that failed or was
        # dropped skips the remaining stages: its calls there count as made.
        stages = run.stages
        lost = sum((stage.failed + stage.dropped) * (len(stages) - index) for index, stage in enumerate(stages))
        return min(1.0, (sum(stage.done for stage in stages) + lost) / (total * len(stages)))

    def _left(
        self, run: Snapshot, ended: int, rate: float | None, fraction: float | None, total: int | None
    ) -> float | None:
        if not fraction or total is None or self._expands:
            return None
        if run.strategy == "staged":
            return run.elapsed * (1 - fraction) / fraction
        return max(0, total - ended) / rate if rate else None

    def _projected(self, usage: Usage, ended: int, total: int | None) -> Usage | None:
        if ended < _ENOUGH or not total or ended >= total or self._expands:
            return None
        times = total / ended
        return Usage(
            prompt_tokens=round(usage.prompt_tokens * times),
            completion_tokens=round(usage.completion_tokens * times),
            cost=usage.cost * times,
        )


def _ended(run: Snapshot) -> int:
    return run.written + run.failed + run.dropped + run.expanded + run.collected


def _counts(run: Snapshot) -> tuple[int, ...]:
    return (_ended(run), *(stage.finished + stage.cached for stage in run.stages))


def _stage(stage: StageSnapshot, rate: float | None, most: int) -> StageFigures:
    # The counts change while they are read: a number made of several counts may be off by a call for a moment. But if
    # there are fewer slots than before, calls do run beyond them.
    return StageFigures(
        name=stage.name,
        waiting=stage.waiting,
        running=min(stage.running, most),
        slots=stage.concurrency,
        done=stage.done,
        failed=stage.failed,
        retried=stage.retried,
        dropped=stage.dropped,
        sent_back=stage.sent_back,
        cached=stage.cached,
        pushed_back=stage.pushed_back,
        refusal=stage.refusal,
        usage=stage.usage,
        rate=rate,
        latency=stage.seconds.mean,
    )
