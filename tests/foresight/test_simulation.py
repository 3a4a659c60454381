"""Pipelines of every shape in virtual time: what they take is known to the second."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from rxpipe import AdaptiveConcurrency, Batch, ConfigError, DatabaseSink, Pipeline, RateLimiter, Retry, Stage
from rxpipe.foresight import Forecast, RecordedCall, RecordedRun, simulate
from rxpipe.foresight.calls.distributions import parse_distribution
from rxpipe.operators.core.running_call import Usage

from .made_calls import alike, calls
from .worlds import never_called, stage


def forecast(*stages: Stage[Any, Any], seconds: Sequence[float], count: int | None = 4, **options: Any) -> Forecast:
    """Of a pipeline whose calls take so long."""
    made = [call for each, one in zip(stages, seconds, strict=True) for call in alike(each.name, 4, one)]
    until = options.pop("until", None)
    return simulate(
        Pipeline(*stages, **options),
        count=count,
        until=until,
        record=RecordedRun(calls=made, roots=range(4)),
        replications=2,
    )


def test_slots() -> None:
    """Four calls of a second in two slots take two seconds."""
    found = forecast(stage("a", concurrency=2), seconds=[1.0])
    assert found.seconds.middle == pytest.approx(2.0)
    assert found.first_seconds.middle == pytest.approx(1.0)
    assert found.rate.middle == pytest.approx(2.0)
    assert found.stages[0].busy.middle == pytest.approx(1.0)
    assert (found.written.middle, found.calls.middle, found.count) == (4, 4, 4)


@pytest.mark.parametrize(
    ("strategy", "seconds"), [("per_stage", 1.0 + 4 * 2.0), ("per_item", 2 * 3.0), ("staged", 2 * 1.0 + 4 * 2.0)]
)
def test_strategies(strategy: str, seconds: float) -> None:
    """Each is the pipeline's own."""
    stages = stage("a", concurrency=2), stage("b", concurrency=1)
    found = forecast(*stages, seconds=[1.0, 2.0], strategy=strategy, concurrency=2)
    assert found.seconds.middle == pytest.approx(seconds)


def test_rate_limits() -> None:
    """A limit is fresh: what the pipeline's own has seen does not matter, and it sees nothing."""
    limit = RateLimiter(1, 3.0)
    limit.reserve(1e6)
    found = forecast(stage("a", concurrency=4, rate_limit=limit), seconds=[1.0])
    assert found.seconds.middle == pytest.approx(10.0)
    assert found.limits[0].used.middle == pytest.approx(4 / (10 / 3), rel=0.2)
    assert limit.uses()[0].taken == 1


def test_shared_limits_are_shared() -> None:
    """Of two stages with one limit, each call takes a place of it."""
    limit = RateLimiter(1, 1.0)
    stages = stage("a", concurrency=4, rate_limit=limit), stage("b", concurrency=4, rate_limit=limit)
    found = forecast(*stages, seconds=[0.001, 0.001])
    assert found.seconds.middle == pytest.approx(7.0, abs=0.1)
    assert [each.name for each in found.limits] == ["a and b calls"]


def test_retries_and_failures() -> None:
    """Items fail as they did, with the delays of the pipeline's policy."""
    made = [*calls("a", [("0", 1.0, "retried"), ("1", 1.0, "failed"), ("2", 1.0, "ok")])]
    made += calls("a", [("0", 1.0, "ok")], attempt=2)
    record = RecordedRun(calls=made, roots=[0, 1, 2])
    retry = Retry(max_attempts=2, initial=5.0, jitter=0.0)
    found = simulate(Pipeline(stage("a", concurrency=3, retry=retry)), record=record, replications=0)
    assert (found.written.middle, found.failed.middle, found.retried.middle, found.calls.middle) == (2, 1, 1, 4)
    assert found.seconds.middle == pytest.approx(7.0)


def test_a_timeout_ends_what_takes_longer() -> None:
    """A coroutine gives its slot back at once."""
    made = calls("a", [("0", 9.0, "ok"), ("1", 1.0, "ok")])
    found = simulate(
        Pipeline(stage("a", concurrency=1, timeout=2.0)), record=RecordedRun(calls=made, roots=[0, 1]), replications=0
    )
    assert (found.written.middle, found.failed.middle) == (1, 1)
    assert found.seconds.middle == pytest.approx(3.0)


def test_a_thread_goes_on_beyond_its_timeout() -> None:
    """Its slot goes to a fresh one, within the allowance; without it, to nobody until the thread has ended."""

    def plain(value: Any) -> Any:
        raise AssertionError

    def seconds(allowance: int) -> float:
        made = calls("a", [("0", 9.0, "ok"), ("1", 1.0, "ok")])
        one = Stage("a", plain, concurrency=1, timeout=2.0, max_abandoned=allowance)
        return simulate(Pipeline(one), record=RecordedRun(calls=made, roots=[0, 1]), replications=0).seconds.middle

    assert seconds(1) == pytest.approx(3.0)
    with pytest.raises(ConfigError, match="the run would fail: a: stalled"):
        seconds(0)


def test_a_longer_timeout_lets_go_on_what_a_timeout_had_ended() -> None:
    """Calls that were cut off take as long as the others' distribution has it."""
    numbers = [0.5 * 1.03**place for place in range(100)]
    made = calls("a", [(str(n), min(one, 5.0), "ok" if one < 5.0 else "failed") for n, one in enumerate(numbers)])

    def written(timeout: float | None) -> float:
        pipeline = Pipeline(stage("a", concurrency=1, timeout=timeout))
        return simulate(pipeline, record=RecordedRun(calls=made, roots=range(100)), replications=0).written.middle

    assert written(5.0) == sum(one < 5.0 for one in numbers) == 78
    assert written(1_000.0) == 100


def test_what_hangs_hangs() -> None:
    """More calls were cut off than the distribution of the others has there: these never return."""
    made = alike("a", 50, 1.0) + calls("a", [(str(50 + n), 5.0, "failed") for n in range(5)])
    record = RecordedRun(calls=made, roots=range(55))
    found = simulate(Pipeline(stage("a", concurrency=5, timeout=30.0)), record=record, replications=0)
    assert found.failed.middle == 5
    with pytest.raises(ConfigError, match="stage a: 5 calls are never answered"):
        simulate(Pipeline(stage("a", concurrency=5)), record=record, replications=0)


def test_items_are_dropped_and_sent_back_as_they_were() -> None:
    """To the same stage, as often as the policy lets them."""
    made = calls("a", [("0", 1.0, "ok"), ("1", 1.0, "ok")])
    made += [RecordedCall("0", "b", 1, 5_000.0, 1.0, "sent_back"), RecordedCall("1", "b", 1, 5_000.0, 1.0, "dropped")]
    made += [RecordedCall("0", "a", 1, 6_000.0, 1.0, "ok"), RecordedCall("0", "b", 1, 7_000.0, 1.0, "ok")]
    stages = stage("a", concurrency=2), stage("b", concurrency=2, max_rounds=1)
    found = simulate(Pipeline(*stages), record=RecordedRun(calls=made, roots=[0, 1]), replications=0)
    assert found.dropped.middle == 1
    assert found.stages[0].calls.middle == 3


def test_children() -> None:
    """As many as each parent had; a stage collects them."""
    made = alike("a", 2, 1.0) + calls("b", [("0/0", 1.0, "ok"), ("0/1", 1.0, "ok"), ("1/0", 1.0, "ok")])
    record = RecordedRun(calls=[*made, *alike("c", 2, 1.0)], roots=[0, 1], children={"a": {"0": 2, "1": 1}})
    stages = stage("a", concurrency=2, expand=True), stage("b", concurrency=1), stage("c", collect=True)
    found = simulate(Pipeline(*stages), record=record, replications=0)
    assert found.stages[1].calls.middle == 3
    assert [found.written.middle, found.seconds.middle] == pytest.approx([2, 5.0])


def test_batches() -> None:
    """A call for more items takes longer, as far as the record shows it."""
    made = [RecordedCall(str(item), "a", 1, 0.0, 1.5, "ok") for item in range(2)]
    made += [RecordedCall(str(item), "a", 1, 1_000.0, 2.5, "ok") for item in range(2, 6)]
    batch = Batch(max_items=8, max_seconds=1.0)
    found = simulate(
        Pipeline(stage("a", concurrency=1, batch=batch)),
        count=8,
        record=RecordedRun(calls=made, roots=range(6)),
        replications=0,
    )
    assert found.seconds.middle == pytest.approx(1.0 + 0.5 * 7)


def test_until() -> None:
    """Failures are made up for, from items that the record does not have."""
    made = calls("a", [("0", 1.0, "failed"), ("1", 1.0, "ok")])
    record = RecordedRun(calls=made, roots=[0, 1])
    found = simulate(Pipeline(stage("a", concurrency=1)), until=5, record=record, replications=0)
    assert found.written.middle == 5
    assert found.failed.middle >= 1
    assert found.count is None


def test_stages_that_some_items_pass() -> None:
    """As many as in the record, which is all that is known of ``when``."""
    made = alike("a", 500, 0.01) + alike("b", 100, 0.01)
    passed = {"b": {str(item) for item in range(100, 500)}}
    record = RecordedRun(calls=made, roots=range(500), passed=passed)
    stages = stage("a", concurrency=9), stage("b", concurrency=9, when=never_called)
    found = simulate(Pipeline(*stages), record=record, replications=0)
    assert found.stages[1].calls.middle == 100
    more = simulate(Pipeline(*stages), count=1_000, record=record, replications=0)
    assert 160 <= more.stages[1].calls.middle <= 240


def test_a_generator_gives_its_values_one_after_the_other() -> None:
    """And waits with the next one while there is no room, as the pipeline's own machine has it."""

    async def two(value: Any) -> AsyncIterator[Any]:
        raise AssertionError
        yield

    made = calls("a", [("0", 2.0, "ok")]) + calls("b", [("0/0", 3.0, "ok"), ("0/1", 3.0, "ok")])
    record = RecordedRun(calls=made, roots=[0], children={"a": {"0": 2}})
    stages = Stage("a", two, expand=True, concurrency=1, queue_size=0), stage("b", concurrency=1, queue_size=0)
    found = simulate(Pipeline(*stages), record=record, replications=0)
    assert found.first_seconds.middle == pytest.approx(4.0)
    assert found.seconds.middle == pytest.approx(7.0)
    assert found.stages[0].busy.middle == pytest.approx(2 / 7)


def test_children_pass_stages_by_their_ids() -> None:
    """Also right behind the stage that makes them."""
    made = alike("a", 2, 1.0) + calls("b", [("0/1", 1.0, "ok"), ("1/0", 1.0, "ok")])
    children, passed = {"a": {"0": 2, "1": 2}}, {"b": {"0/0", "1/1"}}
    record = RecordedRun(calls=made, roots=[0, 1], children=children, passed=passed)
    stages = stage("a", expand=True), stage("b", when=never_called)
    found = simulate(Pipeline(*stages), record=record, replications=0)
    assert (found.written.middle, found.stages[1].calls.middle) == (4, 2)


def test_adaptive_concurrency_finds_the_rate_of_the_server() -> None:
    """It begins with few calls, and has more while none is refused."""
    adaptive = AdaptiveConcurrency(least=1, start=1, most=4)
    made = alike("a", 40, 1.0)
    found = simulate(
        Pipeline(stage("a", concurrency=adaptive)), record=RecordedRun(calls=made, roots=range(40)), replications=0
    )
    assert 10.0 < found.seconds.middle < 15.0


def test_the_budget_ends_it() -> None:
    """A run that costs too much stops, as it would."""
    usage = Usage(prompt_tokens=10, cost=1.0)
    made = calls("a", [(str(item), 1.0, "ok") for item in range(10)], usage=usage)
    found = simulate(
        Pipeline(stage("a", concurrency=1), max_cost=4.5),
        record=RecordedRun(calls=made, roots=range(10)),
        replications=0,
    )
    assert found.cost.middle == pytest.approx(4.0)
    assert found.written.middle == 4
    assert found.assumptions[-1].startswith("the run would stop: max_cost is 4.5")


def test_the_server_s_slots() -> None:
    """Calls beyond them wait there, and take a slot of the stage."""
    record = RecordedRun(calls=alike("a", 8, 1.0), roots=range(8))
    found = simulate(Pipeline(stage("a", concurrency=8)), record=record, server_slots=2, replications=0)
    assert found.seconds.middle == pytest.approx(4.0)


def test_latencies_by_name() -> None:
    """In place of the record's, or without one."""
    latency = {"a": parse_distribution("constant(2)")}
    found = simulate(Pipeline(stage("a", concurrency=2)), count=4, latency=latency)
    assert found.seconds.middle == found.seconds.low == found.seconds.high == pytest.approx(4.0)
    record = RecordedRun(calls=alike("a", 4, 1.0) + alike("b", 4, 1.0), roots=range(4))
    stages = stage("a", concurrency=4), stage("b", concurrency=4)
    assert simulate(Pipeline(*stages), record=record, latency=latency).seconds.middle == pytest.approx(3.0)


def test_what_holds_it_up_is_said() -> None:
    """By the same words as of a real run."""
    record = RecordedRun(calls=alike("a", 400, 0.1) + alike("b", 400, 1.0), roots=range(400))
    found = simulate(Pipeline(stage("a", concurrency=4), stage("b", concurrency=4)), record=record, replications=0)
    assert found.advice.sentence.startswith("b holds the others up: 4 slots")


@pytest.mark.slow
def test_very_many_items() -> None:
    """The intervals come from shorter runs, and are as wide in proportion."""
    found = [
        simulate(
            Pipeline(stage("a", concurrency=5)), count=count, latency={"a": parse_distribution("uniform(0.5, 1.5)")}
        )
        for count in (5_000, 20_000)
    ]
    assert found[0].simulations == found[1].simulations == 13
    few, many = (one.seconds for one in found)
    assert many.middle == pytest.approx(4 * few.middle, rel=0.02)
    assert many.high / many.low == pytest.approx(few.high / few.low, rel=0.01)


def test_rows_wait_for_others_to_be_committed_with_them() -> None:
    """As long as the sink says; the first one, too."""
    sink = DatabaseSink("sqlite:///never.db", max_seconds=0.5)
    record = RecordedRun(calls=alike("a", 2, 1.0), roots=range(2))
    found = simulate(Pipeline(stage("a", concurrency=1), sink=sink), record=record, replications=0)
    assert (found.first_seconds.middle, found.seconds.middle) == (1.5, 2.5)


# What is wrong is said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count must be a whole number of at least 1, not 0"),
        ({"count": 1.5}, "count must be a whole number"),
        ({"count": 2, "until": 0}, "until must be a whole number"),
        ({"count": 2, "server_slots": 0}, "server_slots must be"),
        ({"count": 2, "server_rate": 0}, "server_rate must be"),
        ({"count": 2, "server_rate": float("nan")}, "server_rate must be"),
        ({}, "how many items"),
        ({"count": 2, "latency": {"b": None}}, "there is no stage 'b'; the stages are a"),
    ],
)
def test_what_cannot_be_is_one_sentence(options: dict[str, Any], words: str) -> None:
    """Before anything is simulated."""
    latency = {"a": parse_distribution("1")} | options.pop("latency", {})
    with pytest.raises((ConfigError, ValueError), match=words):
        simulate(Pipeline(stage("a")), latency=latency, **options)


def test_a_stage_without_calls_to_draw_from() -> None:
    """The sentence says what to do."""
    record = RecordedRun(calls=alike("a", 3, 1.0), roots=range(3))
    with pytest.raises(ConfigError, match=r"stage b: there are no recorded calls to draw from; .*b=lognormal"):
        simulate(Pipeline(stage("a"), stage("b")), record=record)


def test_a_limiter_of_the_user_s_own() -> None:
    """It may have a clock of its own, so it is asked for a fresh one."""

    class Own:
        def reserve(self, now: float) -> float:
            return 0.0

    record = RecordedRun(calls=alike("a", 3, 1.0), roots=range(3))
    with pytest.raises(TypeError, match="a limiter that has no fresh"):
        simulate(Pipeline(stage("a", rate_limit=Own())), record=record)


def test_there_are_no_more_rows_than_items() -> None:
    """Nor are more written than asked for; intervals end there."""
    made = calls("a", [(str(item), 1.0, "failed" if item % 40 == 0 else "ok") for item in range(80)])
    record = RecordedRun(calls=made, roots=range(80))
    found = simulate(Pipeline(stage("a", concurrency=4)), count=300, record=record, replications=8)
    assert found.written.middle < found.written.high <= 300
    until = simulate(Pipeline(stage("a", concurrency=4)), until=100, record=record, replications=8)
    assert (until.written.middle, until.written.high) == (100, 100)


def test_calls_that_all_fail_are_no_reason_to_warn() -> None:
    """They do so in a simulation, where nobody pays for them."""
    made = calls("a", [(str(item), 1.0 + item, "failed") for item in range(40)])
    with capture_logs() as logs:
        found = simulate(
            Pipeline(stage("a", concurrency=2)), record=RecordedRun(calls=made, roots=range(40)), replications=1
        )
    assert found.failed.middle == 40
    assert logs == []


def test_the_start_of_a_run() -> None:
    """Imports and connections take as long as they took, before the first call."""
    made = alike("a", 4, 1.0)
    pipeline = Pipeline(stage("a", concurrency=2))
    found = simulate(pipeline, record=RecordedRun(calls=made, roots=range(4), startup=3.0), replications=2)
    assert found.seconds.middle == pytest.approx(3.0 + 2.0)
    assert found.first_seconds.middle == pytest.approx(3.0 + 1.0)
    assert found.rate.middle == pytest.approx(4 / 5)
    assert found.stages[0].busy.middle == pytest.approx(2.0 / 5.0)
    assert found.item_p95.middle == pytest.approx(2.0, rel=0.02)
    assert "the first call begins after 3.00 s, as in the record" in found.assumptions
    soon = simulate(pipeline, record=RecordedRun(calls=made, roots=range(4), startup=0.01), replications=2)
    assert not any("begins after" in one for one in soon.assumptions)
