"""Stages that note their calls, whatever kind of function they have."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from rxpipe import Outcome, Pipeline, Stage
from rxpipe.devtools.compare.least_time import StagePlan
from rxpipe.devtools.compare.recording import Recorder
from rxpipe.devtools.compare.timeline import Timeline
from rxpipe.operators.errors import StageTimeout
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.ports import Write
from rxpipe.pipeline.run.item import Item

from . import odd_stages

KINDS = [
    odd_stages.double,
    odd_stages.double_soon,
    odd_stages.double_awaitable,
    odd_stages.double_observable,
]


class KeptSink:
    """Keeps the outcomes that a sink would write."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}

    def open(self) -> Write:
        def write(outcomes: Any) -> Any:
            from reactivex import operators as rx_ops

            return outcomes.pipe(rx_ops.do_action(self.keep))

        return write

    def keep(self, outcome: Outcome[Any]) -> None:
        self.values[outcome.id] = outcome.value


def record(*calls: Callable[[Any], Any], scheduler: Scheduler, latency: float = 0.0) -> tuple[KeptSink, Timeline]:
    """Runs IDs 1 to 4 through stages that note their calls."""
    stages = [Stage(f"stage {number}", call, timeout=5) for number, call in enumerate(calls)]
    plans = [StagePlan(name=stage.name, latency=latency, slots=2) for stage in stages]
    recorder, sink = Recorder(stages), KeptSink()
    pipeline = Pipeline(*recorder.stages(plans, scheduler), sink=recorder.sink(sink), scheduler=scheduler)
    report = pipeline.run(range(1, 5))
    assert report.taken == 4
    return sink, recorder.timeline(0.0, float("inf"), [2 for _ in stages])


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
@pytest.mark.parametrize("latency", [0.0, 0.001])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_function_is_noted(kind: Callable[[Any], Any], latency: float, scheduler: Scheduler) -> None:
    """The values are those of the bare functions, each call is noted with its item, and it lasts the latency."""
    sink, line = record(kind, odd_stages.double, kind, scheduler=scheduler, latency=latency)
    assert sink.values == {1: 8, 2: 16, 3: 24, 4: 32}
    for stage in line.stages:
        assert sorted(call.item for call in stage.calls) == [1, 2, 3, 4]
        assert all(call.ok and call.ended - call.began >= latency * 0.9 for call in stage.calls)
    assert sorted(commit.item for commit in line.commits) == [1, 2, 3, 4]
    for item in range(1, 5):
        assert [index for index, _ in line.journey(item)] == [0, 1, 2]


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_a_failed_call_is_noted_as_such(scheduler: Scheduler) -> None:
    """The item skips the stages that are left, and reaches the sink with the bare value that it had."""
    sink, line = record(odd_stages.fail_for_three, odd_stages.fail_for_three, scheduler=scheduler)
    assert sink.values == {1: 1, 2: 2, 3: 3, 4: 4}
    assert [call.item for call in line.stages[0].calls if not call.ok] == [3]
    assert sorted(call.item for call in line.stages[1].calls) == [1, 2, 4]
    assert [commit.item for commit in line.commits if not commit.written] == [3]


def test_the_value_of_an_item_that_fails_later_is_bare() -> None:
    """What travels between stages is not what the sink is given."""
    sink, _ = record(odd_stages.fail_for_three, odd_stages.double, odd_stages.double, scheduler="threads")
    assert sink.values[3] == 3
    failing, _ = record(odd_stages.double, odd_stages.fail_for_three, scheduler="threads")
    assert failing.values == {1: 2, 2: 4, 3: 6, 4: 8}


def test_a_call_that_is_dropped_before_its_latency_warns_of_nothing() -> None:
    """A call that timed out on its thread is never awaited."""
    recorder = Recorder([Stage("only", odd_stages.double)])
    (stage,) = recorder.stages([StagePlan(name="only", latency=1.0, slots=1)], "asyncio")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pending = stage.call(1)
        del pending
        gc.collect()


def test_a_late_call_that_counts_is_no_timeout() -> None:
    """A stage may notice late that a call is out of time: whether it did is its own to say."""
    recorder = Recorder([Stage("only", odd_stages.double, timeout=1e-9)])
    (stage,) = recorder.stages([StagePlan(name="only", latency=0.001, slots=1)], "threads")
    stage.call(2)
    (call,) = recorder.timeline(0.0, float("inf"), [1]).stages[0].calls
    assert (call.ok, call.ended - call.began >= 0.0009) == (True, True)


def test_calls_are_cut_off_at_their_timeout_and_at_the_end() -> None:
    """A call that has not ended is drawn for as long as it had a slot."""

    async def hang() -> Recorder:
        stages = [Stage("short", odd_stages.hang_for_three, timeout=2.0), Stage("long", odd_stages.hang_for_three)]
        recorder = Recorder(stages)
        plans = [StagePlan(name=stage.name, latency=0.0, slots=1) for stage in stages]
        tasks = [asyncio.ensure_future(stage.call(3)) for stage in recorder.stages(plans, "asyncio")]
        await asyncio.sleep(0)
        recorder.listener.call_ended(Item(3, 0.0), "short", StageTimeout("short", 2.0), again=False)
        hanging.append(recorder.timeline(0.0, float("inf"), [1, 1]))
        now = hanging[0].stages[1].calls[0].began
        hanging.append(recorder.timeline(now, 10.0, [1, 1]))
        hanging.append(recorder.timeline(now, 1.0, [1, 1]))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return recorder

    hanging: list[Timeline] = []
    asyncio.run(hang())
    _, ten, one = hanging
    assert [round(stage.calls[0].ended) for stage in ten.stages] == [2, 10]
    assert [round(stage.calls[0].ended) for stage in one.stages] == [1, 1]
    assert not any(stage.calls[0].ok for line in hanging for stage in line.stages)
