"""Items that are put into a store, and workers that stay for them."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from sqlalchemy import text, update

from rxpipe import ConfigError, DatabaseSink, Pipeline, Record, RunStore, Stage, Submitted, submit
from rxpipe.errors import RecordChanged, StoreError
from rxpipe.pipeline.run.run import Run
from rxpipe.store.maintenance.requeue import requeue
from rxpipe.store.queries.existing_store import change, opened
from rxpipe.store.queries.history import run
from rxpipe.store.schema.tables import VERSION

from .bank import Bank, states
from .stores import connected

LONG = 600.0  # seconds that nobody waits for in a test: who goes on before was woken


@contextmanager
def staying(bank: Bank, *, every: float = LONG) -> Generator[Run]:
    """A worker that stays, with nothing in its source."""
    run = bank.pipeline(RunStore(stay=every)).start([])
    try:
        yield run
    finally:
        run.stop()
        run.finished.result(30)


def test_with_nobody_at_work(store_url: str) -> None:
    """A run begins with what was submitted, and a later one does it, each item once."""
    bank = Bank(store_url)
    told = submit(bank.pipeline(), [1, 2, "a", 2])
    assert told == Submitted(run=1, new=3, known=1)
    assert submit(bank.pipeline(), ["1", "b"]) == Submitted(run=1, new=1, known=1)
    assert bank.calls == {}
    assert set(states(store_url).values()) == {"ready"}
    report = bank.pipeline().run([1, 3])
    assert (report.run, report.written, report.finished) == (1, 5, True)
    assert bank.called("generation") == [1, 2, 3, "a", "b"]  # in the type in which they came first
    assert submit(bank.pipeline(), [1]).new == 0


def test_a_worker_that_stays_is_woken(store_url: str) -> None:
    """At once on PostgreSQL, soon on SQLite, though it reads its source again much later only."""
    called = threading.Semaphore(0)
    bank = Bank(store_url, lambda stage, _: called.release() if stage == "grading" else None)
    with staying(bank) as run:
        assert submit(bank.pipeline(), ["a"]).new == 1
        assert called.acquire(timeout=30)
        told = submit(bank.pipeline(), ["b", "a"])
        assert (told.new, told.known, told.has_workers) == (1, 1, True)
        assert called.acquire(timeout=30)
    report = run.report()
    assert (report.written, report.cancelled, report.finished) == (2, 0, False)  # its source may have more
    assert bank.called("generation") == ["a", "b"]


def test_a_worker_that_stays_goes_on_without_its_connection(postgres_url: str) -> None:
    """It connects anew, and looks by itself meanwhile."""
    called = threading.Semaphore(0)
    bank = Bank(postgres_url, lambda stage, _: called.release() if stage == "grading" else None)
    with staying(bank):
        submit(bank.pipeline(), [1])
        assert called.acquire(timeout=30)
        with connected(postgres_url) as connection:
            whose = "query ~ '^(LISTEN rxpipe_items|SELECT 1)$' AND datname = current_database()"
            ended = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {whose}"
            assert connection.execute(text(ended)).scalar_one() >= 1
        submit(bank.pipeline(), [2])
        assert called.acquire(timeout=30)


def test_records(store_url: str) -> None:
    """The value of a record is kept; another one that comes later is told, and does not count."""
    values: list[object] = []

    def keep(value: object) -> None:
        values.append(value)

    stage = Stage("s", keep)
    pipeline = Pipeline(stage, sink=DatabaseSink(store_url), store=RunStore(), name="records")
    assert submit(pipeline, [Record("a", {"t": 1}), Record("b", {"t": 2})]).new == 2
    assert submit(pipeline, [Record("a", {"t": 1}), Record("b", {"t": 3})]) == Submitted(run=1, known=2, changed=1)
    strict = Pipeline(stage, sink=DatabaseSink(store_url), store=RunStore(on_change="fail"), name="records")
    with pytest.raises(RecordChanged):
        submit(strict, ["c", Record("a", {"t": 9})])
    assert set(states(store_url)) == {"a", "b"}  # also of what came with it nothing is there
    pipeline.run([])
    assert sorted(map(str, values)) == ["{'t': 1}", "{'t': 2}"]


def test_refused(sqlite_url: str) -> None:
    """What cannot be done by anybody, in a sentence."""
    bank = Bank(sqlite_url)
    with pytest.raises(ConfigError, match="keeps nothing"):
        submit(Pipeline(Stage("s", len), sink=DatabaseSink(sqlite_url)), ["a"])
    with pytest.raises(ConfigError, match="255"):
        submit(bank.pipeline(), ["x" * 300])
    with pytest.raises(ConfigError, match="cannot be kept"):
        submit(bank.pipeline(), [Record("a", threading.Lock())])
    with pytest.raises(ConfigError, match=r"1\.5"):
        submit(bank.pipeline(), [1.5])  # type: ignore[list-item]
    assert submit(bank.pipeline(), []) == Submitted()
    submit(bank.pipeline(), ["a"])
    with connected(sqlite_url) as connection:
        connection.execute(update(VERSION).values(version=1))
        connection.commit()
    with pytest.raises(StoreError, match="older rxpipe"):
        submit(bank.pipeline(), ["b"])


def test_a_worker_that_stays_takes_what_was_requeued(store_url: str) -> None:
    """By another process, while it waits."""
    failing = True
    ended = threading.Semaphore(0)

    def act(stage: str, _: object) -> None:
        if stage == ("generation" if failing else "grading"):
            ended.release()
        if failing:
            raise ValueError("not yet")

    bank = Bank(store_url, act)
    with staying(bank) as worker:
        submit(bank.pipeline(), ["a"])
        assert ended.acquire(timeout=30)
        while states(store_url) != {"a": "failed"}:
            threading.Event().wait(0.02)
        failing = False
        with opened(store_url) as engine, change(engine) as connection:
            assert requeue(connection, run(connection)) == 1
        assert ended.acquire(timeout=30)
    assert worker.report().written == 1
