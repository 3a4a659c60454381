"""Numbers over time: what a chart shows between two snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rxpipe.insight.snapshot import Snapshot, StageSnapshot


def point(before: Snapshot | None, now: Snapshot) -> dict[str, Any]:
    """Returns the rates and shares since an earlier snapshot.

    A resumed run counts from 0 again. If a count has become smaller, the rates are those since the run's start.
    """
    if before is not None and (now.ended < before.ended or now.elapsed <= before.elapsed):
        before = None
    seconds = now.elapsed - (0.0 if before is None else before.elapsed)
    stages = {} if before is None else {stage.name: stage for stage in before.stages}

    def rate(name: str) -> float | None:
        return _rate(getattr(now, name), 0 if before is None else getattr(before, name), seconds)

    def stage_rate(name: str) -> float | None:
        earlier = sum(getattr(stage, name) for stage in stages.values())
        return _rate(sum(getattr(stage, name) for stage in now.stages), earlier, seconds)

    usage, usage_before = now.usage, None if before is None else before.usage
    tokens = usage.tokens - (0 if usage_before is None else usage_before.tokens)
    return {
        "at": now.at,
        "written": rate("written"),
        "failed": rate("failed"),
        "dropped": rate("dropped"),
        "pushed_back": stage_rate("pushed_back"),
        "retried": stage_rate("retried"),
        "tokens": _rate(tokens, 0, seconds),
        "cost": now.usage_before.cost + usage.cost,
        "in_flight": now.in_flight,
        "done": now.written_before + now.written,
        "stages": [_stage(stages.get(stage.name), stage, seconds) for stage in now.stages],
    }


def _stage(before: StageSnapshot | None, now: StageSnapshot, seconds: float) -> dict[str, Any]:
    spent = now.seconds if before is None else now.seconds - before.seconds
    slots = now.slot_seconds
    if slots is not None and before is not None and before.slot_seconds is not None:
        slots -= before.slot_seconds

    def share(name: str) -> float | None:
        value = getattr(now, name) - (0.0 if before is None else getattr(before, name))
        return min(1.0, max(0.0, value / slots)) if slots else None

    return {
        "p50": spent.quantile(0.5),
        "p95": spent.quantile(0.95),
        "p99": spent.quantile(0.99),
        "running": now.running,
        "mean": _rate(now.busy, 0.0 if before is None else before.busy, seconds),  # mean number of running calls
        "waiting": now.waiting,
        "rate": _rate(now.finished, 0 if before is None else before.finished, seconds),
        "busy": share("busy"),
        "blocked": share("blocked"),
        "limited": share("limited"),
        "held": share("held"),
    }


def window(before: Snapshot | None, now: Snapshot) -> dict[str, Any]:
    """Returns the numbers of ``point``, and those of limits, sink and source, which no chart shows."""
    if before is not None and (now.ended < before.ended or now.elapsed <= before.elapsed):
        before = None
    seconds = now.elapsed - (0.0 if before is None else before.elapsed)
    taken = {} if before is None else {limiter.name: limiter.taken for limiter in before.limiters}
    sink_before = None if before is None else before.sink
    busy = 0.0 if now.sink is None else now.sink.busy - (0.0 if sink_before is None else sink_before.busy)
    waited = now.source.waited - (0.0 if before is None else before.source.waited)
    return {
        **point(before, now),
        "seconds": seconds,
        "limiters": {
            limiter.name: _rate(limiter.taken, taken.get(limiter.name, 0.0), seconds) for limiter in now.limiters
        },
        "sink_busy": _share(busy, seconds * now.workers),
        "source_waited": _share(waited, seconds * now.workers),
    }


def series(snapshots: Sequence[Snapshot]) -> dict[str, Any]:
    """Returns the points of all snapshots as columns, in the form that charts need."""
    points = [point(before, now) for before, now in zip((None, *snapshots), snapshots, strict=False)]
    names = [] if not snapshots else [stage.name for stage in snapshots[-1].stages]
    points = [one for one in points if len(one["stages"]) == len(names)]
    keys = [key for key in (points[0] if points else ()) if key != "stages"]
    stage_keys = points[0]["stages"][0] if points and names else ()
    return {
        **{key: [one[key] for one in points] for key in keys},
        "stages": [
            {"name": name, **{key: [one["stages"][index][key] for one in points] for key in stage_keys}}
            for index, name in enumerate(names)
        ],
    }


def _share(part: float, whole: float) -> float | None:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else None


def _rate(now: float, before: float, seconds: float) -> float | None:
    return max(0.0, now - before) / seconds if seconds > 0 else None
