"""Items that always fail do so in a forecast as often as they did in the record."""

from __future__ import annotations

from statistics import fmean

import pytest

from foresight.worlds import run_truly, stage
from rxpipe import Pipeline, Retry
from rxpipe.foresight import simulate
from rxpipe.foresight.calls.chance import share_of
from rxpipe.foresight.calls.draws import StageDraws
from rxpipe.foresight.calls.further_attempts import FurtherAttempts
from rxpipe.foresight.calls.record import Draw, RecordedCall, RecordedRun
from rxpipe.foresight.calls.recorded_draws import recorded_draws

HOPELESS, BAD_LUCK, ATTEMPTS = 0.03, 0.05, 3
IN_TRUTH = HOPELESS + (1 - HOPELESS) * BAD_LUCK**ATTEMPTS


class World(StageDraws):
    """Some items always fail, and any call may."""

    def draw(self, item_id: str, number: int, attempt: int, rounds: int, seed: int) -> Draw:
        fails = share_of(seed, number, -9) < HOPELESS or share_of(seed, number, attempt) < BAD_LUCK
        return Draw(1.0, "retried" if fails else "ok")


def ended(draws: StageDraws, item: int, seed: int) -> list[Draw]:
    """The attempts of an item."""
    found: list[Draw] = []
    while len(found) < ATTEMPTS and not (found and found[-1].ended == "ok"):
        found.append(draws.draw(f"item {item}", item, len(found) + 1, 0, seed))
    return found


def record_of(count: int, seed: int) -> RecordedRun:
    """What is recorded of so many items."""
    world = World(first=())
    return RecordedRun(
        calls=[
            RecordedCall(str(item), "a", number, 100.0 * item + 10 * number, one.seconds, one.ended)
            for item in range(count)
            for number, one in enumerate(ended(world, item, seed), 1)
        ]
    )


def failing(draws: StageDraws, count: int) -> float:
    """The share of items that fail, of those that are not in the record."""
    return fmean(ended(draws, item, 99)[-1].ended != "ok" for item in range(count))


@pytest.mark.parametrize(("count", "least"), [(100, 0.5), (300, 0.8), (2_000, 0.9)])
def test_on_average_over_many_records(count: int, least: float) -> None:
    """Whether few or many further attempts were recorded; as often as first ones, hardly any item would fail."""
    records = [record_of(count, seed) for seed in range(3 if count > 1_000 else 30)]
    found = [failing(recorded_draws(record, {"a": None}, None)["a"], 1_000) for record in records]
    assert least * IN_TRUTH < fmean(found) < 1.25 * IN_TRUTH


def test_other_records_are_as_likely() -> None:
    """They spread around the one that there is: the truth is one of them."""
    draws = recorded_draws(record_of(300, 4), {"a": None}, None)["a"]
    found = [failing(draws.resampled(seed), 1_000) for seed in range(20)]
    assert min(found) < IN_TRUTH < max(found)


def test_a_few_attempts_count_for_little() -> None:
    """Each is drawn towards the attempt before it; one that nobody has seen is as the last one."""
    found = FurtherAttempts.of([(10, 100), (1, 1), (0, 0)])
    assert found.chance(2) == pytest.approx((1 + 2 * 0.1) / 3)
    assert found.chance(3) == found.chance(2)
    assert found.chance(7) == found.chance(2)
    assert FurtherAttempts.of([(10, 100), (500, 1_000)]).chance(2) == pytest.approx(0.5, abs=0.001)


def test_what_has_not_happened_may_not_be_drawn() -> None:
    """Where no call has ever failed, no other record has failures, either."""
    never = FurtherAttempts.of([(0, 100), (0, 5)])
    assert [never.likely(seed).chance(2) for seed in range(3)] == [0.0, 0.0, 0.0]
    always = FurtherAttempts.of([(100, 100), (5, 5)])
    assert always.likely(1).chance(2) == 1.0
    draws = StageDraws(first=[Draw(1.0, "retried")], further=always)
    assert draws.draw("x", 1, 2, 0, 0).ended == "retried"


def test_forecasts_of_more_items() -> None:
    """A pipeline fails as many of them as it does in truth."""
    pipeline = Pipeline(stage("a", concurrency=8, retry=Retry(max_attempts=ATTEMPTS, initial=0.1)))
    _, record = run_truly(pipeline, {"a": World(first=())}, 110, seed=2)
    assert 5 < sum(call.attempt > 1 for call in record.calls) < 20
    found = simulate(pipeline, count=600, record=record, replications=8)
    assert found.failed.low <= IN_TRUTH * 600 <= found.failed.high
    assert found.failed.middle > 0.5 * IN_TRUTH * 600
