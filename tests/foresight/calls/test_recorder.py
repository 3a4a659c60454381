"""Forecasts from the calls of a run in this process, also from a few."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from pathlib import Path

import pytest

from foresight.worlds import always, run_truly, stage
from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage, record_usage
from rxpipe.foresight import CallRecorder, recorded, simulate
from rxpipe.foresight.calls.draws import StageDraws
from rxpipe.foresight.calls.few_calls import likely_calls
from rxpipe.foresight.calls.record import Draw
from rxpipe.operators.core.running_call import Usage


def test_it_records_what_a_store_would() -> None:
    """Attempts, ends, usage, items in their order, and children by their parent."""
    seen: Counter[int] = Counter()

    def parts(value: int) -> list[int]:
        seen[value] += 1
        record_usage(Usage(prompt_tokens=value, cost=0.25))
        if value == 1 and seen[value] == 1:
            raise OSError("once")
        if value == 2:
            raise ValueError("always")
        return [value] * value

    recorder = CallRecorder()
    retry = Retry(max_attempts=2, initial=0.0, retry_on=OSError)
    stages = Stage("divide", parts, expand=True, retry=retry), Stage("keep", str)
    pipeline = Pipeline(*stages, listeners=[recorder], concurrency=1)
    pipeline.run([0, 1, 2, 3])
    record = recorder.record()
    found = sorted((call.stage, call.item, call.attempt, call.ended) for call in record.calls)
    assert found == [
        ("divide", "0", 1, "ok"),
        ("divide", "1", 1, "retried"),
        ("divide", "1", 2, "ok"),
        ("divide", "2", 1, "failed"),
        ("divide", "3", 1, "ok"),
        *(("keep", item, 1, "ok") for item in ("1/0", "3/0", "3/1", "3/2")),
    ]
    assert record.roots == [0, 1, 2, 3]
    assert record.children == {"divide": {"0": 0, "1": 1, "3": 3}}
    assert sum(call.usage.cost for call in record.calls) == 1.25
    assert all(call.seconds >= 0 for call in record.calls)
    assert simulate(Pipeline(*stages, concurrency=1), record=record, replications=0).written.middle == 4


def test_how_long_the_start_takes() -> None:
    """From the beginning of the run to the first call."""
    seconds = itertools.chain([10.0, 12.5], itertools.repeat(13.0))
    recorder = CallRecorder(now=lambda: next(seconds))
    Pipeline(Stage("keep", str), listeners=[recorder]).run(range(3))
    assert recorder.record().startup == pytest.approx(2.5)


def test_waiting_for_room_downstream_takes_no_seconds() -> None:
    """A call that gives many values waits with them for the next stage; a forecast with more slots there does not."""
    stages = stage("divide", expand=True, concurrency=1), stage("keep", concurrency=1, queue_size=1)
    draws = {"divide": StageDraws(first=[Draw(1.0)], children=[5]), "keep": always(Draw(3.0))}
    run, record = run_truly(Pipeline(*stages), draws, 4)
    assert run.seconds > 50
    assert [call.seconds for call in record.calls if call.stage == "divide"] == pytest.approx([1.0] * 4)
    found = simulate(Pipeline(*stages), record=record, replications=0).seconds.middle
    assert found == pytest.approx(run.seconds, rel=0.01)
    faster = stages[0], stage("keep", concurrency=20)
    real = run_truly(Pipeline(*faster), draws, 4)[0].seconds
    assert simulate(Pipeline(*faster), record=record, replications=0).seconds.middle == pytest.approx(real, rel=0.01)


def test_a_store_does_not_count_it_either(tmp_path: Path) -> None:
    """In real time, so the figures are coarse: the call itself takes hardly any, and waits for the rest."""

    def slow(value: int) -> int:
        time.sleep(0.02)
        return value

    url = f"sqlite:///{tmp_path / 'bank.db'}"
    recorder = CallRecorder()
    stages = Stage("divide", range, expand=True), Stage("keep", slow, concurrency=1, queue_size=1)
    Pipeline(*stages, sink=DatabaseSink(url), store=RunStore(), name="bank", listeners=[recorder]).run([10])
    for record in (recorded(url), recorder.record()):
        kept, divided = (sum(one.seconds for one in record.calls if one.stage == name) for name in ("keep", "divide"))
        assert divided < kept / 2


def test_a_few_calls_have_wide_intervals() -> None:
    """The fewer, the wider; they hold what is likely, and what many calls say is inside."""

    def width(count: int) -> float:
        few = [Draw(seconds) for seconds in (1.0, 2.0, 4.0, 3.0)[:count]]
        means = sorted(sum(one.seconds for one in likely_calls(few, seed)) / 200 for seed in range(200))
        return means[189] / means[10]

    assert width(4) > 1.8
    assert width(1) > 2 * width(4)


def test_what_never_returned_may_never_return() -> None:
    """No finite time is made of it."""
    assert likely_calls([Draw(float("inf"))], 1) == [Draw(float("inf"))]
    drawn = likely_calls([Draw(1.0), Draw(float("inf"))], 1)
    assert sum(one.seconds == float("inf") for one in drawn) == pytest.approx(100, abs=30)
