"""How a server slows down is found from calls, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresight.worlds import always, lognormal, run_truly, stage
from rxpipe import Pipeline, Retry
from rxpipe.foresight import simulate
from rxpipe.foresight.calls.load import Load, find_load
from rxpipe.foresight.calls.record import RecordedCall, RecordedRun, together
from rxpipe.foresight.calls.refusals import Bucket, Rate, find_rate

RETRY = Retry(max_attempts=3, initial=0.1)
WORLD = {
    "a": lognormal(0.1, 0.6, failing=0.05, seed=1, cost=0.001),
    "b": lognormal(0.2, 0.9, failing=0.1, seed=2, cost=0.002),
    "c": lognormal(0.07, 0.4, seed=3, cost=0.001),
}


def pipeline(*slots: int, at_once: int | None = None) -> Pipeline:
    stages = [stage(name, concurrency=each, retry=RETRY) for name, each in zip("abc", slots, strict=True)]
    if at_once is not None:
        return Pipeline(*stages, strategy="per_item", concurrency=at_once)
    return Pipeline(*stages)


@pytest.mark.slow
@pytest.mark.parametrize("knee", [6, 10, 12])
def test_a_server_that_shares_itself(knee: int) -> None:
    """Its knee is found to a fifth, from one run at about the same load all the time."""
    found: list[float] = []
    for seed in range(3):
        load = Load(knee=knee, slope=1 / knee)
        _, record = run_truly(pipeline(4, 8, 3), WORLD, 800, seed=seed, load=load)
        likeliest = find_load(record.calls).load
        assert likeliest is not None
        found.append(likeliest.knee)
    assert median(found) == pytest.approx(knee, rel=0.2)


@pytest.mark.slow
def test_no_load_is_believed_in_where_there_is_none() -> None:
    """However the calls happen to fall."""
    found = [find_load(run_truly(pipeline(4, 8, 3), WORLD, 400, seed=seed)[1].calls) for seed in range(10)]
    assert [each.load for each in found] == [None] * 10
    assert found[0].most == 15


@pytest.mark.slow
@pytest.mark.parametrize("load", [pytest.param(None, marks=pytest.mark.thorough), Load(knee=10, slope=0.1)])
def test_forecasts_of_other_settings(load: Load | None) -> None:
    """What was recorded with some slots tells what others would take; the interval holds."""
    base, record = run_truly(pipeline(4, 8, 3), WORLD, 800, load=load)
    changed = [pipeline(8, 16, 6), pipeline(16, 32, 12), pipeline(8, 8, 3), pipeline(1, 1, 1, at_once=14)]
    for one in changed:
        real, _ = run_truly(one, WORLD, 800, load=load)
        found = simulate(one, record=record, replications=8)
        assert found.seconds.middle == pytest.approx(real.seconds, rel=0.05)
        assert found.seconds.low <= real.seconds <= found.seconds.high
        assert found.cost.middle == pytest.approx(real.usage.cost, rel=0.01)
    assert base.seconds > 0


@pytest.mark.slow
@pytest.mark.thorough
def test_items_that_nobody_has_seen() -> None:
    """Ten times as many; the interval is as wide as chance makes it."""
    _, record = run_truly(pipeline(4, 8, 3), WORLD, 300)
    real = run_truly(pipeline(4, 8, 3), WORLD, 3_000)[0].seconds
    found = simulate(pipeline(4, 8, 3), count=3_000, record=record)
    assert found.seconds.low <= real <= found.seconds.high
    assert found.seconds.middle == pytest.approx(real, rel=0.15)


@pytest.mark.slow
def test_runs_at_different_loads_tell_together_what_none_of_them_tells() -> None:
    """In a run with as many calls all the time, all are as slow; only another run says that they need not be."""
    load, latency = Load(knee=6, slope=1 / 6), {"a": lognormal(1.0, 0.5)}
    calm, middling, busy = (Pipeline(stage("a", concurrency=slots)) for slots in (3, 12, 18))
    records = [run_truly(one, latency, 150, seed=place, load=load)[1] for place, one in enumerate((calm, busy))]
    assert [find_load(record.calls).load for record in records] == [None, None]
    later = replace(records[1], calls=[call._replace(began=call.began + 1e4) for call in records[1].calls])
    both = together([records[0], later])
    found = find_load(both.calls).load
    assert found is not None
    assert found.speed(12) == pytest.approx(load.speed(12), rel=0.1)
    real = run_truly(middling, latency, 1_000, load=load)[0].seconds
    assert simulate(middling, count=1_000, record=both, replications=0).seconds.middle == pytest.approx(real, rel=0.1)
    assert simulate(middling, count=1_000, record=later, replications=0).seconds.middle > 1.4 * real


# Refusals


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("rate", [Rate(unit="calls", rate=30, size=30), Rate(unit="tokens", rate=4_500, size=4_500)])
def test_a_rate_is_found_where_calls_are_refused_for_it(rate: Rate) -> None:
    """And forecasts keep to it, with more slots, too."""
    real, record = run_truly(pipeline(6, 12, 4), WORLD, 200, rate=rate)
    assert real.stages[0].pushed_back > 20
    found = find_rate(record.calls)
    assert found is not None
    assert found.unit == rate.unit
    forecast = simulate(pipeline(6, 12, 4), record=record, replications=4)
    assert forecast.seconds.middle == pytest.approx(real.seconds, rel=0.05)
    more = run_truly(pipeline(20, 40, 12), WORLD, 200, rate=rate)[0].seconds
    # Who gets in when all come back at once is chance.
    assert simulate(pipeline(20, 40, 12), record=record, replications=0).seconds.middle == pytest.approx(more, rel=0.25)


def test_a_rate_is_found_where_only_bursts_are_refused() -> None:
    """What comes in the mean is nine tenths of it; so what is let in varies as much as by chance."""
    dice, now = Random(1), 0.0
    bucket = Bucket(Rate(unit="calls", rate=40, size=4), lambda: now)
    calls: list[RecordedCall] = []
    for number in range(3_000):
        now += dice.expovariate(36)
        refused = bucket.enter(0) > 0
        calls.append(RecordedCall(str(number), "a", 1, now, 0.2, "pushed_back" if refused else "ok"))
    assert 100 < sum(call.ended == "pushed_back" for call in calls) < 1_000
    found = find_rate(calls)
    assert found is not None
    assert (found.rate, found.size) == pytest.approx((40, 4), rel=0.05)


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.2, 0.5]), st.sampled_from([1, 5, 20]))
def test_what_is_refused_at_random_is_no_rate(seed: int, share: float, slots: int) -> None:
    """However many slots there are, and whether they wait after a refusal."""
    dice = Random(seed)
    free, calls = [0.0] * slots, list[RecordedCall]()
    for number in range(400):
        slot = min(range(slots), key=free.__getitem__)
        refused = dice.random() < share
        seconds = 0.01 if refused else dice.lognormvariate(-1, 0.5)
        calls.append(RecordedCall(str(number), "a", 1, free[slot], seconds, "pushed_back" if refused else "ok"))
        free[slot] += seconds + (dice.choice([0, 0.5, 1]) if refused else 0)
    assert find_rate(calls) is None


@pytest.mark.slow
def test_a_rate_is_found_in_one_of_several_runs() -> None:
    """The pause between them is no sign that nothing was let in."""
    rate = Rate(unit="calls", rate=30, size=30)
    calm = run_truly(pipeline(1, 2, 1), WORLD, 100)[1]
    _, pressed = run_truly(pipeline(6, 12, 4), WORLD, 200, rate=rate)
    both = together([pressed, replace(calm, calls=[call._replace(began=call.began + 1e5) for call in calm.calls])])
    found = find_rate(both.calls)
    assert found is not None
    assert found.rate == pytest.approx(rate.rate, rel=0.1)


@pytest.mark.slow
def test_refusals_at_random_are_no_rate() -> None:
    """With more slots, as large a share is refused."""
    refusing = {name: type(each)(first=each.first, refused=(0.1, 0.01)) for name, each in WORLD.items()}
    _, record = run_truly(pipeline(6, 12, 4), refusing, 400)
    refused = sum(call.ended == "pushed_back" for call in record.calls)
    assert refused > 50
    assert find_rate(record.calls) is None
    found = simulate(pipeline(24, 48, 16), record=record, replications=0)
    assert found.pushed_back.middle == pytest.approx(refused, rel=0.3)


def test_few_calls_tell_nothing() -> None:
    """Neither of load nor of a rate."""
    calls = [RecordedCall(str(n), "a", 1, float(n), 1.0, "ok") for n in range(10)]
    assert find_load(calls).load is None
    assert find_load([]).most == 0
    assert find_rate(calls) is None
    assert RecordedRun(calls=()).by_stage() == {}


def test_a_batch_is_one_call_to_the_server() -> None:
    """However many items it has."""
    calls = [RecordedCall(str(n), "a", 1, 0.0, 1.0, "ok") for n in range(10)]
    assert find_load(calls).most == 1
    assert always().first == []
