"""Finds stages that have ended no call for far longer than their calls take, and what they wait for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rxpipe.insight.snapshot import LimiterSnapshot, Snapshot, StageSnapshot
from rxpipe.insight.window import Window, between

WaitsFor = Literal["call", "slot", "limit", "room", "database", "retry"]

_TIMES = 3.0  # times the 99.9th percentile of a stage's calls
_SECONDS = 10.0  # the shortest stall
_FIRST = 60.0  # seconds that the first calls of a stage may take
_FEW = 10  # calls: fewer say little about how long others may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """A stage or a database that stands still.

    Attributes:
        stage: The stage; None for the database.
        seconds: How long no call of the stage has ended, or how long the database has been away, in seconds.
        usual: The 99.9th percentile of the stage's calls, in seconds; None if too few calls have ended.
        oldest: How long the stage's oldest call has been running, in seconds; None if no call runs.
        waits_for: What the stage waits for: the end of a ``call``, a ``slot``, a rate ``limit``, ``room`` downstream,
            the ``database``, or the time of the next attempt (``retry``).
        sentence: The same in words.
    """

    stage: str | None
    seconds: float
    usual: float | None = None
    oldest: float | None = None
    waits_for: WaitsFor
    sentence: str


def stalls_of(snapshots: Sequence[Snapshot]) -> tuple[Stall, ...]:
    """Returns what stands still at the last of a run's snapshots. Returns nothing if the run is over."""
    if not snapshots or snapshots[-1].state not in ("running", "stopping"):
        return ()
    last = snapshots[-1]
    recent = between(snapshots[-2], last) if len(snapshots) > 1 else None
    found = [_away(last)]
    found += [_stall(last, place, recent) for place in range(len(last.stages))]
    return tuple(each for each in found if each is not None)


def _away(snapshot: Snapshot) -> Stall | None:
    sink = snapshot.sink
    if sink is None or sink.away is None or sink.away < _SECONDS:
        return None
    sentence = f"the {sink.name} has been away for {spoken(sink.away)}; {_many(sink.waiting, 'outcome')} for it"
    return Stall(stage=None, seconds=sink.away, waits_for="database", sentence=sentence)


def _stall(snapshot: Snapshot, place: int, recent: Window | None) -> Stall | None:
    stage = snapshot.stages[place]
    if not (stage.running or stage.waiting or stage.blocked_now):
        return None
    usual = stage.seconds.quantile(0.999) if stage.seconds.count >= _FEW else None
    allowed = max(_SECONDS, _FIRST if usual is None else _TIMES * usual)
    since = _since(snapshot, stage)
    if since is None or since < allowed or (stage.oldest is not None and stage.oldest < allowed):
        return None
    waits_for, reason = _reason(snapshot, place, None if recent is None else recent.counts)
    compared = "" if usual is None else f", though 99.9% of its calls take less than {spoken(usual)}"
    sentence = f"{stage.name} has ended no call for {spoken(since)}{compared}: {reason}"
    return Stall(
        stage=stage.name, seconds=since, usual=usual, oldest=stage.oldest, waits_for=waits_for, sentence=sentence
    )


def _since(snapshot: Snapshot, stage: StageSnapshot) -> float | None:
    """Returns the seconds since the last end of a call; None if it is not known that there was work to do."""
    if stage.last_end is not None:
        return stage.last_end
    return stage.oldest if stage.oldest is not None else snapshot.elapsed if stage.waiting else None


def _reason(snapshot: Snapshot, place: int, recent: Snapshot | None) -> tuple[WaitsFor, str]:
    stage = snapshot.stages[place]
    lately = None if recent is None else recent.stages[place]
    if stage.running > stage.blocked_now and stage.oldest is not None:
        return "call", f"its oldest call has been running for {spoken(stage.oldest)}"
    if stage.blocked_now:
        return _downstream(snapshot, place)
    away = snapshot.sink is not None and snapshot.sink.away is not None
    if away or (lately is not None and lately.held > 0):
        return "database", f"{_many(stage.waiting, 'item')} for the database"
    limit = _limit(snapshot, stage, recent)
    if limit is not None and (lately is None or lately.limited > 0 or limit.paused > 0):
        return "limit", f"{_many(stage.waiting, 'item')} for the limit of {limit.name}"
    if 0 < stage.waiting <= stage.delayed:
        return "retry", f"{_many(stage.waiting, 'item')} for the time of the next attempt"
    return "slot", f"{_many(stage.waiting, 'item')} for a slot"


def _downstream(snapshot: Snapshot, place: int) -> tuple[WaitsFor, str]:
    stage = snapshot.stages[place]
    waiting = _many(stage.blocked_now, "result")
    if place + 1 < len(snapshot.stages):
        return "room", f"{waiting} for room in {snapshot.stages[place + 1].name}"
    if snapshot.sink is None:
        return "room", f"{waiting} for whoever takes the outcomes"
    return "database", f"{waiting} for the {snapshot.sink.name}"


def _limit(snapshot: Snapshot, stage: StageSnapshot, recent: Snapshot | None) -> LimiterSnapshot | None:
    limits = (snapshot if recent is None else recent).limiters
    return max((each for each in limits if each.name in stage.limiters), key=lambda each: each.paused, default=None)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{' waits' if count == 1 else 's wait'}"


def spoken(seconds: float) -> str:
    """Formats a duration for a sentence: ``0.4 s``, ``12 s``, ``3 min``, ``2 h``."""
    if seconds < 0.95:
        return f"{seconds:.2g} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
