"""Finds out if a run is alive, draining or stalled; for probes, metrics and watchdogs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rxpipe.insight.snapshot import Snapshot
from rxpipe.insight.stalls import stalls_of
from rxpipe.pipeline.open.health import patience
from rxpipe.pipeline.stage import Stage

Status = Literal["starting", "alive", "draining", "stalled", "ended"]

_FIRST_CALL = 600.0  # seconds that a call may take if there is no timeout, and too few calls have ended to compare with
_TIMES = 3.0  # times the 99.9th percentile of a stage's calls
_FEW = 10  # calls; fewer say little about how long others may take
_GAP = 5.0  # most seconds that count between two looks; for the rest of a longer gap this process did not run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHealth:
    """The health of a run.

    Attributes:
        status: ``starting``: the run has not begun; ``alive``; ``draining``: it takes no more items and finishes those
            that it has; ``stalled``: it has items, and nothing has happened to any of them for too long; ``ended``.
        reason: Why the run is not alive, or what it waits for; empty if there is nothing to say.
        silence: Seconds since something happened; 0 if there is nothing to do.
    """

    status: Status
    reason: str
    silence: float = 0.0


class WatchedRun(Protocol):
    """A run that is watched."""

    def snapshot(self) -> Snapshot:
        """Returns all numbers of the run at this moment."""
        ...


class HealthWatch:
    """Finds out the health of a run, by looking at its numbers now and then. From any thread.

    A run is stalled if it has items and nothing has happened for its patience. The patience is the largest of

    - 60 seconds;
    - 1.5 times the longest timeout, delay or batch of its stages;
    - 10 minutes, if a stage has no timeout;
    - 3 times as long as nearly all calls of a stage take;
    - 1.5 times the interval between two calls that the slowest limit of calls allows.

    Some time does not count. While the database is away or a server makes calls pause, waiting is right, and a restart
    would lose the items in hand. Time in which the whole process was stopped does not count either.

    Attributes:
        latest: The snapshot of the last look; None before the run has begun.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        """Watch no run yet.

        Args:
            now: A monotonic clock, in seconds.
        """
        self.latest: Snapshot | None = None
        self._now = now
        self._run: WatchedRun | None = None
        self._patience = 0.0
        self._draining = False
        self._before: tuple[Any, ...] = ()
        self._paused = self._excused = 0.0
        self._looked_at = now()
        self._silence = 0.0
        self._lock = threading.Lock()

    def begin(self, run: WatchedRun, stages: Iterable[Stage[Any, Any]]) -> None:
        """Watch this run from now on."""
        stages = list(stages)
        least = _FIRST_CALL if any(stage.timeout is None for stage in stages) else 0.0
        with self._lock:
            self._run, self._before, self._silence = run, (), 0.0
            self._paused = self._excused = 0.0
            self._patience = max(least, patience(stages))
            self._looked_at = self._now()

    def drain(self) -> None:
        """Record that the run takes no more items."""
        self._draining = True

    @property
    def is_draining(self) -> bool:
        """True if the run takes no more items."""
        return self._draining or (self.latest is not None and self.latest.state == "stopping")

    def look(self) -> RunHealth:
        """Returns the health of the run now. Call this every few seconds."""
        with self._lock:
            if self._run is None:
                status: Status = "draining" if self._draining else "starting"
                return RunHealth(status=status, reason="no run has begun")
            self.latest = snapshot = self._run.snapshot()
            self._count_silence(snapshot)
            return self._judged(snapshot)

    def _count_silence(self, snapshot: Snapshot) -> None:
        now = self._now()
        gap, self._looked_at = min(max(0.0, now - self._looked_at), _GAP), now
        progress = _progress(snapshot)
        paused = sum(limiter.paused for limiter in snapshot.limiters)
        self._excused += max(0.0, paused - self._paused)  # a pause is counted as a whole when it begins
        waited = min(gap, self._excused)
        self._excused -= waited
        away = snapshot.sink is not None and snapshot.sink.away is not None
        if progress != self._before or away or not snapshot.in_flight or _waits_for_its_time(snapshot):
            self._silence = 0.0
        else:
            self._silence += gap - waited
        self._before, self._paused = progress, paused

    @property
    def away(self) -> float | None:
        """Seconds for which nothing could be committed; None if commits got through at the last look."""
        sink = None if self.latest is None else self.latest.sink
        return None if sink is None else sink.away

    @property
    def commit_trouble(self) -> str:
        """A message that the run waits for its database or file; empty if it does not."""
        if self.latest is None or (sink := self.latest.sink) is None or sink.away is None:
            return ""
        return f"waiting for the {sink.name} for {sink.away:.0f} s: nothing is committed"

    def _judged(self, snapshot: Snapshot) -> RunHealth:
        silence = self._silence
        if snapshot.state not in ("running", "stopping"):
            return RunHealth(status="ended", reason=f"the run has ended: {snapshot.state}")
        if silence > max(self._patience, _usual(snapshot)):
            sentences = [stall.sentence for stall in stalls_of([snapshot])]
            reason = "; ".join([f"nothing has happened for {silence:.0f} s: {_whereabouts(snapshot)}", *sentences])
            return RunHealth(status="stalled", reason=reason, silence=silence)
        if self.is_draining:
            reason = f"the run takes no more items, and finishes {snapshot.in_flight} that it has"
            return RunHealth(status="draining", reason=reason, silence=silence)
        return RunHealth(status="alive", reason="", silence=silence)


def _progress(snapshot: Snapshot) -> tuple[Any, ...]:
    """Returns numbers, at least one of which changes whenever anything happens."""
    stages = tuple(
        (one.calls, one.running, one.waiting, one.delayed, one.blocked_now, one.finished, one.spawned, one.cached)
        for one in snapshot.stages
    )
    sink = None if snapshot.sink is None else (snapshot.sink.outcomes, snapshot.sink.commits)
    return snapshot.state, snapshot.taken, snapshot.ended, snapshot.in_flight, stages, sink


def _waits_for_its_time(snapshot: Snapshot) -> bool:
    """Returns True if all items in flight wait for the time of their next attempt, which a server may have set."""
    delayed = sum(stage.delayed for stage in snapshot.stages)
    return delayed > 0 and delayed == snapshot.in_flight and not any(stage.running for stage in snapshot.stages)


def _usual(snapshot: Snapshot) -> float:
    """Returns how long nothing may happen, in seconds, by the durations of calls and the rates of limits."""
    calls = [
        _TIMES * (one.seconds.quantile(0.999) or 0.0)
        for one in snapshot.stages
        if one.running and one.seconds.count >= _FEW
    ]
    limits = [1.5 / limiter.rate for limiter in snapshot.limiters if limiter.unit == "calls" and limiter.rate > 0]
    return max([*calls, *limits], default=0.0)


def _whereabouts(snapshot: Snapshot) -> str:
    at = [f"{stage.running} calls of {stage.name} run" for stage in snapshot.stages if stage.running]
    at += [f"{stage.waiting} wait for {stage.name}" for stage in snapshot.stages if stage.waiting]
    inside = sum(stage.running + stage.waiting for stage in snapshot.stages)
    if snapshot.waiting_for_children:
        at.append(f"{snapshot.waiting_for_children} wait for their children")
    if (between := snapshot.in_flight - inside - snapshot.waiting_for_children) > 0:
        at.append(f"{between} are between stages, or wait to be written")
    return ", ".join(at)
