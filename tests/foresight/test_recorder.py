"""Forecasts from the calls of a run in this process, also from a few."""

from __future__ import annotations

from collections import Counter

import pytest

from rxpipe import Pipeline, Retry, Stage, record_usage
from rxpipe.foresight import CallRecorder, simulate
from rxpipe.foresight.few_calls import likely_calls
from rxpipe.foresight.record import Draw
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
