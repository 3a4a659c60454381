"""What waits in a store, as those are told who watch a run."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, create_engine, select, update
from sqlalchemy.pool import NullPool

import rxpipe
from rxpipe import DatabaseSink, Pipeline, RunStore, Stage, StopRun
from rxpipe.database.json_rows import PARAMETER as JSON
from rxpipe.database.json_rows import RUN as THIS
from rxpipe.database.json_rows import keys_as_parameter
from rxpipe.store.commits.children import wake_all_parents
from rxpipe.store.commits.commit_statements import CHANGED, ENDED_AT, MAX_CRASHES, give_back_statement
from rxpipe.store.items.lease import reap
from rxpipe.store.maintenance.requeue import requeue
from rxpipe.store.queries.backlog import backlog_of
from rxpipe.store.queries.history import run as run_info
from rxpipe.store.schema.tables import ITEMS, db_now

from .bank import Bank, rows
from .kept import RUN, Kept


def test_what_an_aborted_run_has_left(store_url: str) -> None:
    """It is ready, and waits since the abort."""
    inside, goes_on = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 2:
            inside.set()
            goes_on.wait(30)
        return number

    pipeline = Pipeline(Stage("work", work, concurrency=1), sink=DatabaseSink(store_url), store=RunStore(), name="bank")
    run = pipeline.start(range(30))
    assert inside.wait(30)
    with RunStore(store_url).reader() as reader:
        assert run.number is not None
        before = reader.backlog(run.number)
        assert before.running > 0
        assert (before.ready, before.lag) == (0, 0)
        run.abort()
        goes_on.set()
        run.finished.result(30)
        left = reader.backlog(run.number)
        assert (left.running, left.waiting) == (0, 0)
        assert left.ready >= 1
        assert 0 <= left.lag < 30
        assert reader.backlog(99) == reader.backlog(98)


def test_the_lag_is_that_of_the_oldest(kept: Kept) -> None:
    """Of all that wait, whichever of them is taken next; not of those that a worker has."""
    kept.claim(1, 2, 3)
    with kept.database.transaction() as connection:
        for key, state, age in (("1", "ready", 10.0), ("2", "ready", 100.0), ("3", "running", 1000.0)):
            mine = update(ITEMS).where(ITEMS.c.item_key == key)
            connection.execute(mine.values(state=state, ready_at=db_now() - age))
        found = backlog_of(connection, RUN)
    assert (found.ready, found.running) == (2, 1)
    assert 99.9 < found.lag < 130


def _given_back(kept: Kept, connection: Connection) -> None:
    kept.lease.release(connection)


def _lost(kept: Kept, connection: Connection) -> None:
    reap(connection, RUN, [kept.lease.owner])


def _recovered(kept: Kept, connection: Connection) -> None:
    kept.claims.recover(connection, [])


def _woken(kept: Kept, connection: Connection) -> None:
    connection.execute(update(ITEMS).values(state="waiting", owner=None))
    wake_all_parents(connection, {THIS: RUN})


def _surplus(kept: Kept, connection: Connection) -> None:
    to = ("ready", 0, 0, 0, None, 0, None, 0, None)
    changes = dict(zip(CHANGED, to, strict=True)) | {ENDED_AT: None, MAX_CRASHES: 3}
    statement = give_back_statement(kept.database.engine.dialect.name)
    connection.execute(statement, changes | {JSON: keys_as_parameter(["1"]), THIS: RUN})


@pytest.mark.parametrize("way", [_given_back, _lost, _recovered, _woken, _surplus])
def test_how_items_come_to_wait(kept: Kept, way: Callable[[Kept, Connection], None]) -> None:
    """Each way of it leaves the time."""
    kept.claim(1)
    with kept.database.transaction() as connection:
        began = connection.execute(select(db_now())).scalar_one()
        way(kept, connection)
        row = connection.execute(select(ITEMS)).one()
        assert row.state == "ready"
        assert began - 0.01 <= row.ready_at <= connection.execute(select(db_now())).scalar_one() + 0.01


def test_items_that_are_put_there(store_url: str) -> None:
    """Submitted, or requeued; and those that a change of the stages makes wait again."""
    failing = Bank(store_url, lambda stage, _: 1 / 0)
    failing.pipeline().run([1])
    rxpipe.submit(failing.pipeline(), [2])
    with create_engine(store_url, poolclass=NullPool).begin() as connection:
        requeue(connection, run_info(connection, 1))
    assert [(row.state, row.ready_at is not None) for row in rows(store_url, ITEMS)] == [("ready", True)] * 2

    def stop(stage: str, _: object) -> None:
        raise StopRun(stage)

    with create_engine(store_url, poolclass=NullPool).begin() as connection:
        connection.execute(update(ITEMS).values(state="written", stage=3, ready_at=None))
    with pytest.raises(StopRun):
        Bank(store_url, stop).pipeline(RunStore(resume=True), versions=(2, None, None)).run([])
    assert [(row.state, row.ready_at is not None) for row in rows(store_url, ITEMS)] == [("ready", True)] * 2
