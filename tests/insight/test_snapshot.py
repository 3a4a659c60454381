"""Snapshots of several workers, added up."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from rxpipe import Usage
from rxpipe.insight.finding import Finding
from rxpipe.insight.snapshot import (
    CountedError,
    LimiterSnapshot,
    SinkSnapshot,
    Snapshot,
    SourceSnapshot,
    StageSnapshot,
    merged,
)
from rxpipe.operators.stages.durations import Durations


def worker(at: float = 100.0, *, per_process: bool = True, **counts: Any) -> Snapshot:
    """What one process tells."""
    seconds = Durations()
    seconds.add(2.0)
    stage = StageSnapshot(
        name="a",
        concurrency=4,
        most=8,
        calls=3,
        busy=6.0,
        slot_seconds=40.0,
        seconds=seconds,
        oldest=at / 100,
        last_end=at / 50,
        usage=Usage(cost=1.0),
    )
    return Snapshot(
        at=at,
        elapsed=at / 10,
        stages=(stage,),
        limiters=(LimiterSnapshot(name="a calls", unit="calls", rate=5.0, taken=3.0, per_process=per_process),),
        sink=SinkSnapshot(name="database", outcomes=2, commits=1, busy=0.5),
        source=SourceSnapshot(length=10, waited=1.0),
        errors=(CountedError(stage="a", text="bad", count=2),),
        **counts,
    )


def found(name: str) -> Finding:
    return Finding(verdict="found", kind="stage", name=name, sentence=f"{name} holds the others up")


def test_what_held_a_run_up_is_what_its_last_worker_found() -> None:
    """If it went on alone, and did anything; of workers beside each other nobody knows."""
    first = worker(100.0, state="stopped", finding=found("a"), taken=5)
    later: dict[str, Any] = {"state": "finished", "finding": found("b")}
    after, beside = worker(200.0, taken=5, **later), worker(105.0, taken=5, **later)  # it began 10.5 s before
    assert merged([first, after]).finding == merged([after, first]).finding == found("b")
    assert merged([first, worker(200.0, **later)]).finding == found("a")
    assert merged([first, beside]).finding is None
    assert merged([worker(100.0, taken=5), after]).finding is None
    gone = worker(199.0, taken=5, workers=0, state="failed")
    assert merged([gone, after]).finding == found("b")


def test_counts_are_added_up() -> None:
    """Those of items, calls, slots, rows and time that slots spent; of ages the oldest counts."""
    both = merged([worker(100.0, taken=5, written=3), worker(200.0, taken=7, written=4)])
    assert (both.taken, both.written, both.workers, both.at, both.elapsed) == (12, 7, 2, 200.0, 20.0)
    stage = both.stages[0]
    assert (stage.concurrency, stage.most, stage.calls, stage.busy, stage.slot_seconds) == (8, 16, 6, 12.0, 80.0)
    assert (stage.seconds.count, stage.oldest, stage.last_end, stage.usage.cost) == (2, 2.0, 2.0, 2.0)
    assert both.sink == SinkSnapshot(name="database", outcomes=4, commits=2, busy=1.0)
    assert both.source == SourceSnapshot(length=10, waited=2.0)
    assert both.errors == (CountedError(stage="a", text="bad", count=4),)


@pytest.mark.parametrize(("per_process", "rate"), [(True, 10.0), (False, 5.0)])
def test_limits(per_process: bool, rate: float) -> None:
    """Each process has a limit of its own, unless it is one of all."""
    (limiter,) = merged([worker(per_process=per_process)] * 2).limiters
    assert (limiter.rate, limiter.taken) == (rate, 6.0)


def test_no_bound() -> None:
    """Of one worker is none of all."""
    free = StageSnapshot(name="a", concurrency=None, most=None, slot_seconds=None)
    (stage,) = merged([Snapshot(at=1, elapsed=1, stages=(free,))] * 2).stages
    assert (stage.concurrency, stage.most, stage.slot_seconds) == (None, None, None)


@pytest.mark.parametrize(("states", "state"), [(("running", "finished"), "running"), (("finished",) * 2, "finished")])
def test_states(states: tuple[str, str], state: str) -> None:
    """While one works, the run does."""
    snapshots = [Snapshot(at=1, elapsed=1, stages=(), state=one) for one in states]  # type: ignore[arg-type]
    assert merged(snapshots).state == state


def test_what_cannot_be_added_up() -> None:
    """Nothing, and runs of other stages."""
    with pytest.raises(ValueError, match="no snapshot"):
        merged([])
    other = Snapshot(at=1, elapsed=1, stages=(StageSnapshot(name="b", concurrency=1, most=1),))
    with pytest.raises(ValueError, match="not of the same stages"):
        merged([worker(), other])


def test_json() -> None:
    """A store keeps them as JSON."""
    snapshots = TypeAdapter(Snapshot)
    one = worker(taken=3)
    assert snapshots.validate_json(snapshots.dump_json(one)) == one


def test_of_what_servers_said_to_several_workers_one_sentence_is_kept() -> None:
    """It is one server."""
    one, other = (
        Snapshot(at=1.0, elapsed=1.0, stages=(StageSnapshot(name="a", concurrency=1, most=1, refusal=text),))
        for text in ("", "429: slow down")
    )
    assert [merged(pair).stages[0].refusal for pair in ((one, other), (other, other))] == ["429: slow down"] * 2
