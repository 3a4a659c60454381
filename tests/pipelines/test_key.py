"""``key``: one call per key at a time, in the order in which items came."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, Block, Seen, finish, lasting, noting, run_virtually, same, step, until

from rxpipe import Batch, Pipeline, Record, Retry
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy


def tens(value: int) -> int:
    return value // 10


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("strategy", ["per_stage", "per_item"])
def test_calls_of_a_key_follow_each_other_in_order(strategy: Strategy, scheduler: Scheduler) -> None:
    """Those of others run meanwhile."""
    running: defaultdict[int, int] = defaultdict(int)
    calls: defaultdict[int, list[int]] = defaultdict(list)
    most: list[int] = []

    def call(value: int) -> int:
        running[tens(value)] += 1
        calls[tens(value)].append(value)
        most.append(running[tens(value)])
        running[tens(value)] -= 1
        return value

    stage = step("a", call, key=tens, concurrency=4)
    report = Pipeline(stage, strategy=strategy, scheduler=scheduler, concurrency=4).run(range(100))
    assert report.written == 100
    assert max(most) == 1
    assert all(values == sorted(values) for values in calls.values())


def test_an_item_waits_for_the_retries_of_the_one_before() -> None:
    """Its turn comes when that one has ended."""
    calls: list[int] = []

    def flaky(value: int) -> int:
        calls.append(value)
        if calls.count(0) < 3 and value == 0:
            raise OSError
        return value

    stage = step("a", flaky, key=tens, concurrency=4, retry=Retry(max_attempts=3, initial=1, jitter=0))
    run_virtually(Pipeline(stage), [0, 1, 10])
    assert calls == [0, 10, 0, 0, 1]


def test_a_key_takes_one_slot() -> None:
    """Two keys of five items each, a second per call: five seconds, however many slots there are."""
    report = run_virtually(
        Pipeline(step("a", lasting(1), key=tens, concurrency=8, queue_size=8)), [*range(5), *range(10, 15)]
    )
    assert report.seconds == 5


@pytest.mark.parametrize("bad", [[], {}, ValueError()], ids=repr)
def test_a_key_that_is_none_fails_the_item(bad: Any) -> None:
    """One that cannot be hashed, or that the function raises; it is counted once, and the others go on."""

    def key(value: int) -> Any:
        if value != 1:
            return value
        if isinstance(bad, Exception):
            raise bad
        return bad

    seen = Seen()
    report = run_virtually(Pipeline(step("a", same, key=key)), range(3), seen)
    failed = next(one for one in seen.outcomes if one.status == "failed")
    assert (failed.id, failed.stage, report.written) == (1, "a", 2)
    run = Pipeline(step("a", same, key=key)).start(range(3))
    finish(run)
    stats: Any = run.stages[0]
    assert (stats.taken, stats.done, stats.failed, stats.waiting) == (3, 2, 1, 0)


class Changing:
    """A key whose hash the stage's function changes."""

    def __init__(self) -> None:
        self.number = 1

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


def test_a_key_may_change_its_hash() -> None:
    """An item that comes with it later does not wait for ever."""
    keys = [Changing(), Changing()]

    def change(key: Changing) -> Changing:
        key.number += 1
        return key

    pipeline = Pipeline(step("a", change, key=same))
    assert run_virtually(pipeline, [Record(number, keys[number % 2]) for number in range(6)]).written == 6


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_item_that_waits_for_its_key_may_be_cancelled(scheduler: Scheduler) -> None:
    """The one behind it has its turn."""
    block = Block({1})
    pipeline = Pipeline(step("a", block, key=tens, concurrency=3), scheduler=scheduler)
    with pipeline.open() as running:
        first, second, third = running.submit(1), running.submit(2), running.submit(3)
        block.wait_for(1)
        until(lambda: running.report().taken == 3)
        assert second.cancel()
        assert second.result(LIMIT).status == "cancelled"
        assert not third.done()
        block.may_return.set()
        assert {first.result(LIMIT).status, third.result(LIMIT).status} == {"written"}


def test_a_batch_has_one_item_of_each_key() -> None:
    """The next one of a key comes when the call has ended."""
    calls: list[list[int]] = []
    stage = step("a", noting(calls), key=tens, batch=Batch(max_items=5, max_seconds=1))
    assert run_virtually(Pipeline(stage), [0, 1, 10, 11, 20]).written == 5
    assert calls == [[0, 10, 20], [1, 11]]


def test_an_abort_counts_those_that_wait() -> None:
    """As cancelled."""
    block = Block()
    run = Pipeline(step("a", block, key=tens, concurrency=3)).start(range(5))
    block.wait_for(1)
    stats: Any = run.stages[0]
    until(lambda: stats.taken == 5)
    run.abort()
    block.may_return.set()
    assert (finish(run).cancelled, len(block.inside)) == (5, 1)
    assert (stats.cancelled, stats.discarded, stats.waiting) == (1, 4, 0)
