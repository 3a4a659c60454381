"""Recommended settings: as good as those of a full search, within all bounds, and no larger than they need be."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rxpipe import AdaptiveConcurrency, ConfigError, Pipeline, RateLimiter, Retry, Stage
from rxpipe.executors import Processes
from rxpipe.foresight import Recommendation, advise, simulate
from rxpipe.foresight.simulation import Scenario
from rxpipe.foresight.variants import with_settings

from .pipelines import latencies, pipeline_of, stages_of
from .worlds import lognormal, run_truly, stage

NAMES = ("a", "b", "c")
LINE = stages_of(a=2, b=2, c=2)
SECONDS = latencies(a="1", b="2", c="0.5")
WILD = latencies(a="lognormal(median=1, p95=2)", b="lognormal(median=2, p95=5)", c="lognormal(median=0.5, p95=2)")


def _limited() -> Pipeline[Any, Any]:
    return pipeline_of(stage("a"), stage("b", rate_limit=RateLimiter(1, 1.0)), stage("c"))


def _timed_out() -> Pipeline[Any, Any]:
    return pipeline_of(*(stage(name, timeout=3, retry=Retry(max_attempts=3)) for name in NAMES))


def _staged() -> Pipeline[Any, Any]:
    return pipeline_of(*map(stage, NAMES), strategy="staged")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "at_most", "server_slots"),
    [
        (lambda: LINE, {"a": 4, "b": 4, "c": 4}, None),
        (lambda: LINE, {"total": 7}, None),
        pytest.param(lambda: LINE, {("a", "b"): 5, "c": 4}, None, marks=pytest.mark.thorough),
        pytest.param(lambda: LINE, {"a": 4, "b": 4, "c": 4}, 4, marks=pytest.mark.thorough),
        (_limited, {"a": 4, "b": 4, "c": 4}, None),
        pytest.param(_limited, {"total": 7}, None, marks=pytest.mark.thorough),
        (_timed_out, {"a": 4, "b": 4, "c": 4, "total": 9}, None),
        (_staged, {"total": 7}, None),
    ],
    ids=["each", "total", "two", "server", "limit", "limit-total", "timeouts", "staged"],
)
def test_no_settings_of_a_full_search_are_much_better(
    make: Callable[[], Pipeline[Any, Any]], at_most: Mapping[Any, int], server_slots: int | None
) -> None:
    """The best of all settings within the bounds is at most 3% faster, by runs with the same chance."""
    scenario = Scenario.of(make(), count=60, until=None, record=None, latency=WILD, slots=server_slots)

    def rate(slots: tuple[int, ...]) -> float:
        settings = {f"stages.{name}.concurrency": count for name, count in zip(NAMES, slots, strict=True)}
        variant = scenario.with_pipeline(with_settings(scenario.pipeline, settings))
        numbers = [variant.run(seed).simulated.numbers for seed in range(3)]
        return sum(one["written"] for one in numbers) / sum(one["seconds"] for one in numbers)

    found = advise(
        scenario.pipeline, count=60, latency=WILD, server_slots=server_slots, at_most=at_most, replications=1
    )
    grid = [slots for slots in itertools.product(range(1, 5), repeat=3) if _is_within(slots, at_most)]
    assert _slots(found) in grid
    assert max(map(rate, grid)) <= 1.03 * rate(_slots(found))


def _slots(found: Recommendation) -> tuple[int, ...]:
    return tuple(found.settings.values())


def _is_within(slots: tuple[int, ...], at_most: Mapping[Any, int]) -> bool:
    counts: dict[str, int] = dict(zip(NAMES, slots, strict=True))
    groups = {name: NAMES if name == "total" else (name,) if isinstance(name, str) else name for name in at_most}
    return all(sum(counts[one] for one in groups[name]) <= most for name, most in at_most.items())


@pytest.mark.slow
def test_slots_in_proportion_to_their_work() -> None:
    """With a bound on all, each stage gets as many as its seconds take; what each change brings is told."""
    found = advise(LINE, count=70, latency=SECONDS, at_most={"total": 14}, replications=1)
    assert _slots(found) == (4, 8, 2)
    assert [(change.setting, change.before, change.after) for change in found.changes] == [
        ("stages.b.concurrency", 2, 8),
        ("stages.a.concurrency", 2, 4),
    ]
    assert [change.gain for change in found.changes] == pytest.approx([0.9, 0.9], abs=0.15)
    assert found.changes[-1].rate == pytest.approx(70 / found.after.seconds.middle, rel=0.01)
    assert found.after.seconds.middle < found.before.seconds.middle / 3
    assert "stages.b.concurrency: 2 to 8" in str(found)


@pytest.mark.slow
def test_no_more_than_what_the_limit_takes() -> None:
    """A limit of the client stays, and is told; slots that it cannot use are given back."""
    found = advise(_limited(), count=60, latency=SECONDS, replications=1)
    assert sum(_slots(found)) <= 8
    assert any("is 9" in note and "more slots gain nothing while it stays" in note for note in found.notes)


@pytest.mark.slow
def test_a_server_that_takes_so_many_calls() -> None:
    """Slots beyond what the server takes at once gain nothing, and are not advised."""
    found = advise(LINE, count=60, latency=WILD, server_slots=6, replications=1)
    assert sum(_slots(found)) <= 18
    assert found.after.stages[1].slots == found.settings["stages.b.concurrency"]


@pytest.mark.slow
def test_deadline() -> None:
    """The fewest slots that meet it, also with a bad chance: with one less of any stage, it would be missed."""
    found = advise(LINE, count=60, latency=WILD, deadline=60, replications=8)
    assert found.meets_deadline
    assert found.after.seconds.high <= 60
    for path, count in found.settings.items():
        if count > 1:
            fewer = with_settings(LINE, {**found.settings, path: count - 1})
            assert simulate(fewer, count=60, latency=WILD, replications=8).seconds.high > 60


@pytest.mark.slow
def test_a_deadline_that_cannot_be_met() -> None:
    """The fastest settings, and a word of it."""
    found = advise(LINE, count=40, latency=SECONDS, deadline=5, at_most={"total": 7}, replications=1)
    assert not found.meets_deadline
    assert sum(_slots(found)) == 7
    assert "no settings meet the deadline of 5 s: these come nearest" in found.notes


@pytest.mark.slow
def test_cost() -> None:
    """Slots change no prices: a cost that is too high is told."""
    draws = {"a": lognormal(1, 0.3, cost=0.01)}
    pipeline = pipeline_of(stage("a", concurrency=4))
    _, record = run_truly(pipeline, draws, 60)
    options: dict[str, Any] = {"count": 80, "record": record, "at_most": {"a": 6}, "replications": 2}
    found = advise(pipeline, max_cost=0.5, **options)
    assert not found.is_paid
    assert found.settings == advise(pipeline, **options).settings  # what cannot be helped changes nothing
    assert found.notes[0].startswith("the run costs ")
    assert found.notes[0].endswith("more than 0.5, whatever the settings: fewer items cost less")
    assert advise(pipeline, max_cost=5.0, **options).is_paid
    unpriced = advise(LINE, max_cost=5.0, count=20, latency=SECONDS, at_most={"total": 4}, replications=1)
    assert "no call tells what it costs: the bound of the cost bounds nothing" in unpriced.notes


@pytest.mark.slow
def test_beyond_the_record() -> None:
    """Where the record has far fewer calls at once, it is told."""
    pipeline = pipeline_of(stage("a", concurrency=2))
    _, record = run_truly(pipeline, {"a": lognormal(1, 0.3)}, 60)
    found = advise(pipeline, count=100, record=record, at_most={"a": 12}, replications=1)
    assert any(
        note.startswith("the record has 2 calls at once, and these settings have up to 1") for note in found.notes
    )


@pytest.mark.slow
def test_what_is_good_stays() -> None:
    """Where nothing gains, nothing is changed; slots that do nothing are taken away."""
    pipeline = stages_of(a=4, b=8, c=2)
    found = advise(pipeline, count=70, latency=SECONDS, at_most={"total": 14}, replications=1)
    assert found.changes == ()
    assert found.after == found.before
    assert "no change gains anything" in str(found)
    wasteful = advise(stages_of(a=4, b=8, c=30), count=70, latency=SECONDS, at_most={"b": 8}, replications=1)
    assert wasteful.settings["stages.c.concurrency"] <= 4


@pytest.mark.slow
def test_items_at_once() -> None:
    """With ``per_item`` it is the pipeline's concurrency."""
    pipeline = pipeline_of(*map(stage, NAMES), strategy="per_item", concurrency=2)
    found = advise(pipeline, count=40, latency=SECONDS, at_most={"total": 8}, replications=1)
    assert found.settings == {"concurrency": 8}
    assert found.changes[0].gain == pytest.approx(3, rel=0.1)


@pytest.mark.slow
def test_what_cannot_be_changed() -> None:
    """Stages that adapt themselves stay as they are; an executor has the slots that it has."""
    adapting = stage("a", concurrency=AdaptiveConcurrency(start=5))
    found = advise(
        pipeline_of(adapting, stage("b")), count=30, latency=latencies(a="1", b="2"), at_most={"b": 5}, replications=1
    )
    assert list(found.settings) == ["stages.b.concurrency"]
    assert "a adapts its slots itself, and stays as it is" in found.notes
    with pytest.raises(ConfigError, match=r"^all stages adapt their slots themselves: there are none to change$"):
        advise(pipeline_of(adapting), count=30, latency=latencies(a="1"))


@pytest.mark.slow
def test_processes() -> None:
    """A stage gets no more slots than its executor has workers."""
    pipeline = pipeline_of(Stage("a", abs, executor=Processes(3), concurrency=1), stage("b"))
    found = advise(pipeline, count=40, latency=latencies(a="1", b="0.1"), replications=1)
    assert found.settings["stages.a.concurrency"] == 3


@pytest.mark.slow
def test_json() -> None:
    """All of it is plain data."""
    found = advise(LINE, count=20, latency=SECONDS, at_most={"total": 7}, deadline=60, max_cost=2, replications=1)
    plain = json.loads(json.dumps(found.as_json()))
    assert plain["settings"] == dict(found.settings)
    assert plain["meets_deadline"] is True
    assert plain["after"]["seconds"]["middle"] == found.after.seconds.middle


@pytest.mark.slow
def test_the_same_again() -> None:
    """The same arguments give the same recommendation."""
    options: dict[str, Any] = {"count": 40, "latency": WILD, "at_most": {"total": 9}, "replications": 1}
    assert advise(LINE, **options) == advise(LINE, **options)


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        (
            {"at_most": {"d": 3}},
            ConfigError,
            "at_most: there is no stage 'd'; there are a, b, c and total",
        ),
        (
            {"at_most": {"total": 2}},
            ConfigError,
            "at_most: 2 for total is too few: 3 stages take one each",
        ),
        ({"at_most": {"a": 0}}, ValueError, "at_most: a: 0 is no whole number of at least 1"),
        ({"deadline": 0}, ValueError, "deadline must be above 0, not 0"),
        ({"max_cost": -1}, ValueError, "max_cost must be above 0, not -1"),
    ],
)
def test_wrong(options: Mapping[str, Any], kind: type[Exception], told: str) -> None:
    """What no option allows."""
    with pytest.raises(kind) as caught:
        advise(LINE, count=9, latency=SECONDS, replications=1, **options)
    assert str(caught.value) == told
