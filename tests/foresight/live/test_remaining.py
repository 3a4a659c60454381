"""How long a run still takes, said while it lasts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from foresight.virtual_runs import Watched, always, around
from rxpipe import AdaptiveConcurrency, Batch, Drop, RateLimiter, Retry, SendBack, Usage, record_usage
from rxpipe.foresight.live.remaining import CPU, Remaining
from rxpipe.foresight.live.rest import Rest, simulated_rest


class Busy(Exception):
    """The server refuses a call for now."""

    uses_attempt = False
    retry_after = 1.0


def times_5(value: int) -> list[int]:
    return [value] * 5


def is_fourth(value: int) -> bool:
    return value % 4 == 0


def failing(share: float, error: type[Exception] = ValueError) -> Any:
    """A function that fails now and then."""
    numbers = random.Random(1)

    def call(value: Any) -> Any:
        if numbers.random() < share:
            raise error
        return value

    return call


def told(watched: Watched, total: int | None, at: float) -> tuple[float, float, bool]:
    """What is said at a time, what is left then in fact, and whether the interval has it."""
    outlook = watched.outlook(total, at=at)
    assert outlook is not None
    left = watched.left()
    return outlook.seconds.middle, left, outlook.seconds.low <= left <= outlook.seconds.high


def test_of_calls_that_are_alike() -> None:
    """Where nothing is left to chance, the end is known nearly exactly: rounds of calls and the last of them."""
    watched = Watched([({"concurrency": 5}, always(1.0)), ({"concurrency": 10}, always(1.5))])
    watched.start(range(1_000))
    said, left, holds = told(watched, 1_000, 40.25)
    assert said == pytest.approx(left, rel=0.02)
    assert holds


@pytest.mark.parametrize("strategy", ["per_stage", "per_item", "staged"])
def test_of_each_strategy(strategy: str) -> None:
    """The items are simulated as the strategy has them go."""
    watched = Watched(
        [({"concurrency": 8}, around(1.0, 1)), ({"concurrency": 8}, around(1.5, 2))],
        strategy=strategy,
        concurrency=12,
    )
    watched.start(range(600))
    said, left, _ = told(watched, 600, 100.0 if strategy == "staged" else 40.0)
    assert said == pytest.approx(left, rel=0.15)


def test_of_the_last_items() -> None:
    """Calls that run go on from where they are; a straight line knows nothing of those that take long."""
    durations = itertools.chain([1.0] * 98, [60.0, 80.0])
    watched = Watched([({"concurrency": 4}, lambda: next(durations))])
    watched.start(range(100))
    outlook = watched.outlook(100, at=60.0)
    assert outlook is not None
    assert outlook.seconds.middle < outlook.seconds.high
    assert outlook.seconds.middle > 3  # they have run for 35 s, and no call ever took so long


def test_of_retries_that_are_not_due() -> None:
    """An item whose next attempt is due in a minute takes a minute more."""
    calls = iter([True] * 40)

    def call(value: Any) -> Any:
        if value == 20 and next(calls):
            raise ValueError
        return value

    retry = Retry(max_attempts=3, initial=60.0, jitter=0.0)
    watched = Watched([({"call": call, "concurrency": 2, "retry": retry}, always(1.0))])
    watched.start(range(21))
    outlook = watched.outlook(21, at=20.0)
    assert outlook is not None
    assert 45 < outlook.seconds.middle < 70


CASES: dict[str, tuple[list[Any], int]] = {
    "a rate limit": ([({"concurrency": 20, "rate_limit": RateLimiter(5)}, around(1.0))], 600),
    "a limit that two share": (
        [
            ({"concurrency": 20, "rate_limit": (shared := RateLimiter(10))}, around(1.0)),
            ({"concurrency": 20, "rate_limit": shared}, around(2.0, 1)),
        ],
        600,
    ),
    "retries": (
        [({"call": failing(0.3), "concurrency": 6, "retry": Retry(max_attempts=4, initial=0.5)}, around(1.0))],
        600,
    ),
    "refused calls": (
        [({"call": failing(0.2, Busy), "concurrency": 6, "retry": Retry(initial=0.5)}, around(1.0))],
        600,
    ),
    "drops": ([({"call": failing(0.5, Drop), "concurrency": 6}, around(1.0)), ({}, around(0.3, 1))], 600),
    "a stage for some": (
        [({"concurrency": 9}, around(1.0)), ({"when": is_fourth, "concurrency": 2}, around(1.0, 1))],
        600,
    ),
    "children": (
        [
            ({"call": times_5, "expand": True, "concurrency": 4}, around(1.0)),
            ({"concurrency": 6}, around(1.0, 1)),
        ],
        200,
    ),
    "children that are collected": (
        [
            ({"call": times_5, "expand": True, "concurrency": 4}, around(1.0)),
            ({"concurrency": 6}, around(1.0, 1)),
            ({"call": len, "collect": True, "concurrency": 2}, around(0.5, 2)),
            ({"concurrency": 2}, around(0.5, 3)),
        ],
        200,
    ),
    "batches": (
        [({"call": list, "batch": Batch(max_items=10, max_seconds=0.5), "concurrency": 2}, around(2.0))],
        1_500,
    ),
    "concurrency that adapts itself": (
        [({"concurrency": AdaptiveConcurrency(start=5, most=10)}, around(1.0))],
        1_500,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_of_what_a_stage_can_do(case: str) -> None:
    """Each is simulated by the stage's own machine, as far as the run's numbers tell of it."""
    stages, count = CASES[case]
    watched = Watched(stages)
    watched.start(range(count))
    said, left, _ = told(watched, count, 45.0)
    assert said == pytest.approx(left, rel=0.15)


@pytest.mark.parametrize(("slots", "replications"), [(40, 8), (200, 4), (900, 2)])
def test_of_many_in_flight_there_are_fewer_simulations(
    slots: int, replications: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An estimate costs no more with 300 in flight than with 30, and what it costs is told before."""
    rests: list[Rest] = []

    def simulated(*given: Any, **options: Any) -> Rest | None:
        rest = simulated_rest(*given, **options)
        if rest is not None:
            rests.append(rest)
        return rest

    monkeypatch.setattr("rxpipe.foresight.live.remaining.simulated_rest", simulated)
    watched = Watched([({"concurrency": slots}, around(4.0))])
    run = watched.start(range(20 * slots))
    said, left, holds = told(watched, 20 * slots, 20.0)
    assert len(rests) == replications
    assert said == pytest.approx(left, rel=0.15)
    assert holds
    assert run.report().taken == 20 * slots


def test_what_an_estimate_costs() -> None:
    """About, by the number of items in flight."""
    costs: dict[int, float] = {}
    for slots in (10, 100, 300, 900, 3_000):
        watched = Watched([({"concurrency": slots}, around(4.0))])
        run = watched.start(range(20 * slots))
        costs[slots] = Remaining(watched.pipeline).cost(run.snapshot())
        run.abort()
    assert costs[10] == pytest.approx(CPU, rel=0.02)
    assert max(costs[slots] for slots in (100, 300)) < 2.5 * CPU
    assert costs[900] < 4 * CPU
    assert costs[3_000] < 12 * CPU


def test_of_items_that_are_sent_back() -> None:
    """They go through earlier stages again."""
    numbers = random.Random(3)

    def check(value: Any) -> Any:
        if numbers.random() < 0.4:
            raise SendBack("s0")
        return value

    watched = Watched(
        [({"concurrency": 6}, around(1.0)), ({"call": check, "concurrency": 6, "max_rounds": 9}, around(0.5, 1))]
    )
    watched.start(range(600))
    said, left, _ = told(watched, 600, 40.0)
    assert said == pytest.approx(left, rel=0.15)


def test_until_so_many_are_written() -> None:
    """What fails is made up for, and fewer and fewer are on their way in the end."""
    watched = Watched([({"call": failing(0.3), "concurrency": 6}, around(1.0))])
    watched.start(itertools.count(), until=500)
    said, left, _ = told(watched, None, 40.0)
    assert said == pytest.approx(left, rel=0.15)


def test_of_a_source_that_is_slow() -> None:
    """What no simulation of the stages knows shows in how the run goes."""

    class Paced:
        def __len__(self) -> int:
            return 1_000

        def __iter__(self) -> Iterator[int]:
            return iter(range(1_000))

        def __contains__(self, one: object) -> bool:
            return False

    limit = RateLimiter(4)  # in place of a source that gives four a second, and is not known to do so
    watched = Watched([({"concurrency": 20, "rate_limit": limit}, around(1.0))])
    run = watched.start(Paced())
    unlimited = Watched([({"concurrency": 20}, always(1.0))]).pipeline
    remaining = Remaining(unlimited, total=1_000)
    for at in range(10, 100, 10):
        watched.time.run(until=float(at))
        remaining.estimate(run.snapshot(), run.standing())
    watched.time.run(until=100.0)
    outlook = remaining.estimate(run.snapshot(), run.standing())
    assert outlook is not None
    assert outlook.seconds.middle == pytest.approx(watched.left(), rel=0.15)


def test_nobody_knows_how_much_is_to_come() -> None:
    """Then nothing is said; when the source is over, it is."""
    watched = Watched([({"concurrency": 2}, always(1.0))])
    watched.start(iter(range(100)))
    assert watched.outlook(None, at=2.5) is None


def test_nothing_has_ended() -> None:
    """Then nobody knows how long calls take."""
    watched = Watched([({"concurrency": 2}, always(10.0))])
    watched.start(range(11))
    assert watched.outlook(11, at=2.5) is None


def test_at_the_end_nothing_is_left() -> None:
    """When all have ended."""
    watched = Watched([({"concurrency": 2}, always(1.0))])
    watched.start(range(10))
    outlook = watched.outlook(10, at=10.0)
    assert outlook is not None
    assert (outlook.seconds.low, outlook.seconds.middle, outlook.seconds.high) == (0.0, 0.0, 0.0)


def test_cost() -> None:
    """What was spent, and what the calls that are to come will cost; retries cost, too."""
    call = failing(0.25)

    def paid(value: Any) -> Any:
        record_usage(Usage(prompt_tokens=100, cost=0.01))
        return call(value)

    durations = itertools.chain([4.0] * 300, itertools.repeat(1.0))  # lately it goes otherwise than it did
    stage = {"call": paid, "concurrency": 5, "retry": Retry(initial=0.1, max_attempts=9)}
    watched = Watched([(stage, lambda: next(durations))])
    run = watched.start(range(2_000))
    remaining = Remaining(watched.pipeline, total=2_000)
    outlook = None
    for at in range(10, 400, 30):
        watched.time.run(until=float(at))
        outlook = remaining.estimate(run.snapshot(), run.standing())
    watched.left()
    assert outlook is not None
    assert outlook.cost is not None
    assert outlook.cost.middle == pytest.approx(run.usage.cost, rel=0.1)
    assert outlook.cost.low < outlook.cost.middle < outlook.cost.high


def test_while_a_server_refuses_all_calls_nothing_is_told() -> None:
    """What would be simulated never ends; and there is an estimate once calls go through."""
    open_from = 60.0

    def refuse(value: Any) -> Any:
        if watched.time.seconds < open_from:
            raise Busy
        return value

    watched = Watched([({"concurrency": 5, "call": refuse}, always(1.0))])
    watched.start(range(100))
    assert watched.outlook(100, at=30.0) is None
    assert watched.outlook(100, at=70.0) is not None


def paid(cost: float, then: Any = None) -> Any:
    """A function whose calls cost something."""

    def call(value: Any) -> Any:
        record_usage(Usage(prompt_tokens=100, cost=cost))
        return value if then is None else then(value)

    return call


def broken(value: Any) -> Any:
    raise AttributeError("no such thing")


def some_broken(value: int) -> Any:
    return value if value % 3 else broken(value)


@pytest.mark.parametrize("fails", [broken, some_broken])
def test_of_items_that_fail_in_all_attempts(fails: Any) -> None:
    """Each of their attempts is counted and waited for, and none of them comes to a later stage."""
    retry = Retry(max_attempts=3, initial=1.0)
    watched = Watched(
        [
            ({"call": paid(0.01), "concurrency": 8}, around(0.4, 1)),
            ({"call": paid(0.01), "concurrency": 8}, around(0.4, 2)),
            ({"call": paid(0.001, fails), "concurrency": 2, "retry": retry}, around(0.01, 3)),
            ({"call": paid(0.1), "concurrency": 8}, around(0.4, 4)),
        ]
    )
    run = watched.start(range(400))
    outlook = watched.outlook(400, at=15.0)
    spent = run.usage.cost
    assert outlook is not None
    assert outlook.cost is not None
    left = watched.left()
    assert outlook.seconds.middle == pytest.approx(left, rel=0.15)
    assert outlook.cost.middle - spent == pytest.approx(run.usage.cost - spent, rel=0.15)


def test_of_items_that_are_looked_up_in_the_cache() -> None:
    """They are in no stage, and have their calls to come as those have that are still in the source."""
    watched = Watched([({"concurrency": 4}, around(1.0)), ({"concurrency": 4}, around(1.0, 1))])
    run = watched.start(range(400))
    remaining = Remaining(watched.pipeline, total=400)
    watched.time.run(until=40.0)
    snapshot = run.snapshot()
    known = remaining.estimate(snapshot, run.standing())
    first, second = snapshot.stages
    looked_up = replace(
        snapshot,
        taken=snapshot.taken + 100,
        in_flight=snapshot.in_flight + 100,
        stages=(replace(first, arriving=100), second),
    )
    same = Remaining(watched.pipeline, total=400).estimate(looked_up, run.standing())
    run.abort()
    assert known is not None
    assert same is not None
    assert same.seconds.middle == pytest.approx(known.seconds.middle, rel=0.05)


def test_of_a_run_that_goes_on_and_makes_children() -> None:
    """Rows of earlier runs are of children: they do not tell how much of the source is left."""
    watched = Watched(
        [({"call": times_5, "expand": True, "concurrency": 2}, around(1.0)), ({"concurrency": 6}, around(1.0, 1))]
    )
    run = watched.start(range(400), until=1_000)
    assert run.quota is not None
    run.before, run.quota.written = (500, 0), 500
    said, left, holds = told(watched, 400, 30.0)
    assert left > 40
    assert said == pytest.approx(left, rel=0.1)
    assert holds
    whole = Watched([({"call": times_5, "expand": True}, always(1.0))])
    whole.start(range(400)).before = (500, 0)
    assert whole.outlook(400, at=10.5) is None  # without ``until`` nobody knows
