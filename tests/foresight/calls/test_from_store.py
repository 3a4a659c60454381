"""The calls of a run, as its store has kept them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from rxpipe import ConfigError, DatabaseSink, Drop, Pipeline, Retry, RunStore, Stage, record_usage
from rxpipe.errors import SinkError
from rxpipe.foresight import recorded, simulate
from rxpipe.operators.core.running_call import Usage


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'bank.db'}"


def durable(url: str, *stages: Stage[Any, Any]) -> Pipeline[Any, Any]:
    return Pipeline(*stages, sink=DatabaseSink(url), store=RunStore(fresh=True), name="bank")


def test_each_call_is_there(url: str) -> None:
    """With its attempt, its end and what it used; and the items in the order of the source."""
    seen: Counter[int] = Counter()

    def flaky(value: int) -> int:
        record_usage(Usage(prompt_tokens=10, completion_tokens=value, cost=0.5))
        seen[value] += 1
        if value == 2 and seen[value] == 1:
            raise OSError("once")
        if value == 3:
            raise ValueError("always")
        return value

    def judge(value: int) -> int | Drop:
        return Drop("odd") if value == 1 else value

    retry = Retry(max_attempts=2, initial=0.0, retry_on=OSError)
    pipeline = durable(url, Stage("write", flaky, retry=retry), Stage("judge", judge, when=lambda value: value != 4))
    pipeline.run(range(5))
    record = recorded(url)
    ends = sorted((call.stage, call.item, call.attempt, call.ended) for call in record.calls)
    assert ends == [
        ("judge", "0", 1, "ok"),
        ("judge", "1", 1, "dropped"),
        ("judge", "2", 1, "ok"),
        ("write", "0", 1, "ok"),
        ("write", "1", 1, "ok"),
        ("write", "2", 1, "retried"),
        ("write", "2", 2, "ok"),
        ("write", "3", 1, "failed"),
        ("write", "4", 1, "ok"),
    ]
    assert list(record.roots) == [0, 1, 2, 3, 4]
    assert sum(call.usage.cost for call in record.calls) == 3.0
    assert record.passed == {"judge": {"4"}}
    found = simulate(pipeline, record=record, replications=2)
    numbers = (found.written, found.failed, found.dropped, found.retried, found.cost)
    assert [each.middle for each in numbers] == [3, 1, 1, 1, 3.0]


def test_children_by_their_parent(url: str) -> None:
    """None is a number, too."""

    def parts(value: int) -> Iterator[str]:
        yield from (f"{value} {part}" for part in range(value))

    pipeline = durable(url, Stage("divide", parts, expand=True), Stage("keep", str))
    pipeline.run(range(3))
    record = recorded(url, 1)
    assert record.children == {"divide": {"0": 0, "1": 1, "2": 2}}
    found = simulate(pipeline, record=record, replications=0)
    assert (found.written.middle, found.stages[1].calls.middle) == (3, 3)


def test_several_runs_together(url: str) -> None:
    """An item of both has the calls of the latest, and others draw from all of them."""
    pipeline = durable(url, Stage("a", str))
    pipeline.run(range(3))
    pipeline.run(range(2, 5))
    alone = [recorded(url, number) for number in (1, 2)]
    both = recorded(url, 2, 1)
    assert both.roots == [0, 1, 2, 3, 4]
    assert len(both.calls) == 6
    of_both = [call for call in both.calls if call.item == "2"]
    assert [call._replace(run=0) for call in of_both] == [call for call in alone[1].calls if call.item == "2"]
    assert sorted(call.seconds for call in both.calls) == sorted(call.seconds for one in alone for call in one.calls)
    found = simulate(pipeline, record=both, replications=0)
    assert (found.count, found.written.middle) == (5, 5)


def test_children_of_several_runs(url: str) -> None:
    """And items that passed without a call, by the latest run that has the item."""
    numbers = {1: 2, 2: 0, 3: 1}

    def parts(value: int) -> list[str]:
        return [f"{value} {part}" for part in range(numbers[value])]

    pipeline = durable(url, Stage("divide", parts, expand=True), Stage("keep", str, when=lambda text: text[0] != "3"))
    pipeline.run([1, 2])
    numbers[2] = 3
    pipeline.run([2, 3])
    record = recorded(url, 1, 2)
    assert sorted(record.children["divide"].values()) == [0, 1, 2, 3]
    assert {item: record.children["divide"][item] for item in "123"} == {"1": 2, "2": 3, "3": 1}
    assert len(record.passed["keep"]) == 1
    found = simulate(pipeline, record=record, replications=0)
    assert (found.written.middle, found.stages[1].calls.middle) == (6, 5)


def test_an_engine_stays_its_owner_s(url: str) -> None:
    """It is read, and not closed."""
    durable(url, Stage("a", str)).run(range(2))
    engine = create_engine(url)
    assert len(recorded(engine, 1).calls) == 2
    with engine.connect():
        pass
    engine.dispose()


def test_a_run_as_it_was_has_the_calls_that_it_had(url: str) -> None:
    """Nothing is counted twice, and nothing left out: the slots are busy for as many seconds as the calls took."""

    async def wait(value: int) -> int:
        await asyncio.sleep(0.05)
        return value

    pipeline = Pipeline(
        Stage("a", wait, concurrency=4),
        Stage("b", wait, concurrency=2),
        sink=DatabaseSink(url, max_seconds=0.001),  # which counts as time of the run
        store=RunStore(),
        scheduler="asyncio",
        name="bank",
    )
    pipeline.run(range(20))
    record = recorded(url)
    found = simulate(pipeline, record=record, replications=0)
    for stage in found.stages:
        assert stage.calls.middle == 20
        busy = stage.busy.middle * (stage.slots or 0) * found.seconds.middle
        assert busy == pytest.approx(sum(call.seconds for call in record.by_stage()[stage.name]), rel=0.05)


def test_what_is_not_there_is_said(url: str, tmp_path: Path) -> None:
    """A run without calls, one that does not exist, a database without a store."""

    def fail(value: int) -> int:
        raise ValueError

    durable(url, Stage("a", fail, when=lambda value: False)).run(range(2))
    with pytest.raises(ConfigError, match="run 1 has no recorded calls"):
        recorded(url)
    with pytest.raises(SinkError, match="no run 7"):
        recorded(url, 7)
    with pytest.raises(SinkError, match="no run 7"):
        recorded(url, 1, 7)
    with pytest.raises(ConfigError, match="run 1 is named twice"):
        recorded(url, 1, 1)
    other = DatabaseSink(url, table="others")
    Pipeline(Stage("a", str), sink=other, store=RunStore(), name="other").run(range(2))
    with pytest.raises(ConfigError, match="run 1 is one of 'bank' and run 2 one of 'other'; give runs of one pipeline"):
        recorded(url, 2, 1)
    with pytest.raises(SinkError, match="no such file"):
        recorded(f"sqlite:///{tmp_path / 'other.db'}")


def test_how_long_a_start_takes(url: str) -> None:
    """From the beginning of a run to its first call; of several runs, the latest counts."""

    def late(value: int) -> int:
        time.sleep(0.001)
        return value

    def source(seconds: float) -> Iterator[int]:
        time.sleep(seconds)
        yield from range(3)

    for seconds in (0.0, 0.06):
        durable(url, Stage("a", late)).run(source(seconds))
    first, second, both = recorded(url, 1), recorded(url, 2), recorded(url, 1, 2)
    assert second.startup >= 0.06
    assert both.startup == second.startup
    assert first.startup > 0
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.exec_driver_sql("DELETE FROM rxpipe_snapshots")
    assert recorded(url, 2).startup == 0.0
