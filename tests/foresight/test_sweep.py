"""A run over the values of a setting: all points draw alike, the knee is found, and only what differs is simulated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from rxpipe import DatabaseSink, Retry
from rxpipe.errors import ConfigError
from rxpipe.foresight import sweep
from rxpipe.foresight.variants import with_settings

from .pipelines import latencies, pipeline_of, stages_of
from .worlds import stage

ANSWERING = "stages.answering.concurrency"
SECONDS = latencies(generation="1", answering="2", grading="0.5")


def test_curve() -> None:
    """Rates rise with the slots until another stage holds the run up, and are what the slots can do."""
    found = sweep(
        stages_of(generation=4, answering=4, grading=8), {ANSWERING: [2, 4, 8, 16]}, count=100, latency=SECONDS
    )
    rates = [point.rate for point in found.points]
    assert rates == pytest.approx([1, 2, 4, 4], rel=0.11)  # with the time in which a run fills up and empties
    assert [point.held_up_by for point in found.points[:2]] == ["answering", "answering"]
    assert found.knee is not None
    assert found.knee.settings == {ANSWERING: 8}
    assert found.best.rate == max(rates)
    assert not found.is_rising
    assert found.sentence.startswith(f"{ANSWERING}=8 is the smallest that reaches 95% of the best rate: ")
    assert found.sentence in str(found)


def test_points_draw_alike() -> None:
    """A value that changes nothing gives exactly the same, and so does the same sweep again; another seed does not."""
    pipeline, seconds = stages_of(work=3), latencies(work="exponential(mean=1)")
    queue = {"stages.work.queue_size": [50, 60]}
    found = sweep(pipeline, queue, count=40, latency=seconds)
    first, second = (point.seconds for point in found.points)
    assert first == second
    assert sweep(pipeline, queue, count=40, latency=seconds) == found
    assert sweep(pipeline, queue, count=40, latency=seconds, seed=1).points[0].seconds != first


@pytest.mark.slow
def test_a_range_is_not_simulated_whole() -> None:
    """Of a long range some numbers are, and those around the knee, which is exact."""
    pipeline = stages_of(generation=20, answering=4, grading=20)
    found = sweep(pipeline, {ANSWERING: range(4, 60)}, count=100, latency=SECONDS)
    assert len(found.points) <= 20
    assert found.settings[ANSWERING] == tuple(point.settings[ANSWERING] for point in found.points)
    assert list(found.settings[ANSWERING]) == sorted(found.settings[ANSWERING])
    assert {4, 59} <= set(found.settings[ANSWERING])
    assert found.knee is not None
    knee = found.knee.settings[ANSWERING]
    every = sweep(pipeline, {ANSWERING: list(range(knee - 3, knee + 1))}, count=100, latency=SECONDS)
    assert [point.rate >= 0.95 * found.best.rate for point in every.points] == [False, False, False, True]
    assert sweep(pipeline, {ANSWERING: range(59, 3, -1)}, count=100, latency=SECONDS) == found


@pytest.mark.slow
def test_map() -> None:
    """Two settings: the earliest pair of values that comes near to the best."""
    settings: Mapping[str, Iterable[int]] = {"stages.generation.concurrency": [1, 2, 4, 8], ANSWERING: [2, 4, 8, 16]}
    found = sweep(stages_of(generation=1, answering=1, grading=2), settings, count=200, latency=SECONDS)
    assert len(found.points) == 16
    assert [point.settings[ANSWERING] for point in found.points[:4]] == [2, 4, 8, 16]
    assert found.knee is not None
    assert found.knee.settings == {"stages.generation.concurrency": 4, ANSWERING: 8}
    assert "are the smallest that reach 95% of the best rate" in found.sentence


def test_what_is_no_number_has_no_knee() -> None:
    """Then the best stands out."""
    found = sweep(
        stages_of(generation=3, answering=3, grading=3),
        {"strategy": ["staged", "per_stage"]},
        count=50,
        latency=SECONDS,
    )
    assert found.knee is None
    assert found.best.settings == {"strategy": "per_stage"}
    assert found.sentence.startswith("strategy=per_stage gives most: ")


def test_the_end_of_the_values() -> None:
    """Where the rate still rises there, it is told."""
    found = sweep(stages_of(generation=30, answering=4, grading=30), {ANSWERING: [4, 8]}, count=100, latency=SECONDS)
    assert found.is_rising
    assert found.sentence.endswith("the rate still rises at the end of the values")


def test_failed_items_are_no_rows() -> None:
    """A timeout that is too short ends a run soon, and gives nothing."""
    pipeline = pipeline_of(stage("work", concurrency=2, timeout=9, retry=Retry(max_attempts=1)))
    found = sweep(pipeline, {"stages.work.timeout": [0.1, 5]}, count=20, latency=latencies(work="1"))
    assert [point.failed for point in found.points] == [20, 0]
    assert found.points[0].rate == 0
    assert found.best.settings == {"stages.work.timeout": 5}


def test_json() -> None:
    """All of it is plain data."""
    found = sweep(stages_of(work=1), {"stages.work.concurrency": [1, 2]}, count=9, latency=latencies(work="1"))
    plain = json.loads(json.dumps(found.as_json()))
    assert plain["settings"] == {"stages.work.concurrency": [1, 2]}
    assert plain["knee"]["settings"] == {"stages.work.concurrency": 2}
    assert plain["points"][0]["seconds"] == pytest.approx(9)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "a sweep is over one setting or two, not 0"),
        ({"a": [1], "b": [1], "c": [1]}, "a sweep is over one setting or two, not 3"),
        ({"strategy": []}, "strategy: a sweep needs values"),
        ({"strategy": ["fast"]}, "strategy: "),
        ({"speed": [1]}, "there is no setting 'speed'; there are concurrency, strategy and stages.NAME.OPTION"),
        ({"stages.wrk.concurrency": [1]}, "stages.wrk.concurrency: there is no stage 'wrk'; the stages are work"),
        ({"stages.work.slots": [1]}, "stages.work.slots: a stage has no option 'slots'; it has concurrency, "),
        ({"stages.work.concurrency": [2, 0]}, "stages.work.concurrency: "),
        ({"stages.work.concurrency": ["many"]}, "stages.work.concurrency: "),
    ],
)
def test_wrong(settings: Mapping[str, list[Any]], told: str) -> None:
    """It is told before anything is simulated."""
    with pytest.raises(ConfigError) as caught:
        sweep(stages_of(work=1), settings, count=9, latency=latencies(work="1"))
    assert str(caught.value).startswith(told)


def test_the_pipeline_stays_as_it_is() -> None:
    """Another setting makes another pipeline."""
    sink = DatabaseSink("sqlite:///never_opened.db")
    pipeline = pipeline_of(stage("work", concurrency=1), sink=sink)
    changed = with_settings(pipeline, {"stages.work.concurrency": 5, "concurrency": 7})
    assert (changed.stages[0].concurrency, changed.concurrency) == (5, 7)
    assert changed.sink is sink  # rows wait there to be committed
    assert (pipeline.stages[0].concurrency, pipeline.concurrency) == (1, 3)
