"""What a page does to runs."""

from __future__ import annotations

from typing import Any

import pytest
from pipeline_helpers import Block, finish, same, until
from sqlalchemy import select

from rxpipe import DatabaseSink, Drop, Pipeline, RunStore, Stage
from rxpipe.errors import ConfigError, StoreError
from rxpipe.insight.reading import ItemFilter
from rxpipe.store.schema.tables import ITEMS
from store.stores import connected
from store.test_tallies import check


def odd(value: int) -> int:
    if value % 3 == 1:
        raise ValueError(f"no {value}")
    if value % 3 == 2:
        raise Drop("odd")
    return value


def pipeline(url: str, call: Any = odd) -> Pipeline:
    return Pipeline(
        Stage("a", same), Stage("b", call), sink=DatabaseSink(url, table="rows"), store=RunStore(), name="x"
    )


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (ItemFilter(), 6),
        (ItemFilter(status="dropped"), 3),
        (ItemFilter(status="failed", error="NO 4"), 1),
        (ItemFilter(stage="a"), 0),
        (["1", "2", "3", "none"], 2),
        ([], 0),
    ],
)
def test_requeue(store_url: str, wanted: Any, count: int) -> None:
    """Failed and dropped items that are wanted are processed again, with what is kept; the others stay."""
    pipeline(store_url).run(range(9))
    with RunStore(store_url).actor() as actor:
        assert actor.requeue(1, wanted) == count
    check(store_url)
    with connected(store_url) as connection:
        ready = connection.execute(select(ITEMS).where(ITEMS.c.state == "ready")).all()
    assert len(ready) == count
    assert all((row.taken_at, row.ended_at, row.seconds, row.stage) == (None, None, None, 1) for row in ready)
    assert pipeline(store_url).run(range(9)).taken == count
    assert check(store_url) == {"written": 3, "failed": 3, "dropped": 3}


def test_what_cannot_be_requeued(store_url: str) -> None:
    """Items that are written, and those of no run."""
    pipeline(store_url).run([0])
    with RunStore(store_url).actor() as actor:
        with pytest.raises(StoreError, match="written cannot be requeued"):
            actor.requeue(1, ItemFilter(status="written"))
        with pytest.raises(StoreError, match="there is no run 2"):
            actor.requeue(2, ItemFilter())
        assert actor.stop(1) == actor.stop(7) == 0


@pytest.mark.slow
@pytest.mark.parametrize("abort", [False, True])
def test_stop(store_url: str, abort: bool) -> None:
    """A worker that is asked to stop lets its calls finish, and takes nothing new; one that aborts gives them up."""
    block = Block()
    stages = Stage("a", same), Stage("b", block, concurrency=1)
    store = RunStore(store_url, heartbeat=0.2, lease=30.0)
    run = Pipeline(*stages, sink=DatabaseSink(store_url, table="rows"), store=store, name="x").start(range(1_000))
    block.wait_for(1)
    with store.actor() as actor:
        assert actor.stop(1, abort=abort) == 1
    if not abort:
        until(lambda: run.state == "stopping")
        block.may_return.set()
    until(run.finished.done)
    block.may_return.set()
    report = finish(run)
    assert report.taken < 1_000
    assert (report.cancelled > 0) == abort
    with store.reader() as reader:
        found = reader.run(1)
    assert found is not None
    assert found.state == "unfinished" or not abort


def test_a_store_without_a_database() -> None:
    """It has nothing to read."""
    for ask in (RunStore().reader, RunStore().actor):
        with pytest.raises(ConfigError, match="needs a database"):
            ask()
