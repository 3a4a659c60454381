from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import SCHEDULERS, WAYS, Ids, Seen, counts, finish, run_virtually, same
from reactivex.testing import ReactiveTest, TestScheduler
from sqlalchemy import Engine, create_engine, event, exc, text

from rxpipe import DatabaseSink, Outcome, Pipeline, Retry, SinkError, Stage
from rxpipe.database.writer import Writer
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy

from .held_writer import LIMIT, HeldWriter
from .sink_helpers import outcome, stored

AWAY = exc.OperationalError("INSERT", {}, ConnectionError("server closed the connection"), connection_invalidated=True)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldWriter:
    return HeldWriter(monkeypatch)


def rows_of(database: Any, table: Any = "results") -> dict[Any, Any]:
    with Writer(database, table=table) as writer:
        return stored(writer)


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_every_outcome_has_a_row(url: str, name: str, strategy: Strategy, scheduler: Scheduler) -> None:
    """In each database, in every way of running."""
    pipeline = Pipeline(
        Stage("s", question), sink=DatabaseSink(url, table=name), strategy=strategy, scheduler=scheduler
    )
    try:
        assert counts(pipeline.run(range(1, 41))) == (40, 39, 1, 0)
        rows = rows_of(url, name)
        assert {key: (row.status, row.question) for key, row in rows.items()} == {
            str(number): ("failed", None) if number == 7 else ("written", f"{number}?") for number in range(1, 41)
        }
        assert rows["7"].error == "ValueError: seven"
    finally:
        drop(url, name)


def question(number: int) -> dict[str, Any]:
    if number == 7:
        raise ValueError("seven")
    return {"question": f"{number}?"}


def drop(url: str, name: str) -> None:
    with Writer(url, table=name) as writer:
        writer.table.drop(writer.engine)


# When rows are committed


def test_a_row_waits_a_twentieth_of_a_second_for_others(sqlite: str) -> None:
    """Then its batch is handed to the writer, however slow the stream is."""
    scheduler = TestScheduler()
    arrivals: list[tuple[Any, int]] = [(10, 1), (10.03, 2), (20, 3)]
    stream: Any = scheduler.create_hot_observable([ReactiveTest.on_next(at, outcome(id)) for at, id in arrivals])
    out: list[tuple[Any, float]] = []

    def note(done: Outcome[Any]) -> None:
        out.append((done.id, round(scheduler.clock, 6)))

    subscription = DatabaseSink(sqlite).open()(stream).subscribe(note, scheduler=scheduler)
    scheduler.start()
    subscription.dispose()
    assert out == [(1, 10.05), (2, 10.05), (3, 20.05)]


def test_a_full_batch_is_written_at_once(sqlite: str, held: HeldWriter) -> None:
    """It has nothing to wait for."""
    sink = DatabaseSink(sqlite, max_items=10, max_seconds=3600)
    assert counts(Pipeline(Stage("s", same, concurrency=1), sink=sink).run(range(25))) == (25, 25, 0, 0)
    assert held.batches == [list(range(10)), list(range(10, 20)), list(range(20, 25))]


def test_a_row_is_committed_though_no_other_comes(sqlite: str) -> None:
    """The source goes on only when it has seen it."""
    is_written = threading.Event()

    def ids() -> Iterator[int]:
        yield 1
        assert is_written.wait(LIMIT)

    seen = Seen(lambda _: is_written.set())
    assert counts(finish(Pipeline(Stage("s", same), sink=DatabaseSink(sqlite)).start(ids(), seen))) == (1, 1, 0, 0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_written_is_told_only_when_the_row_is_committed(sqlite: str, scheduler: Scheduler) -> None:
    """Whoever is told finds it with a connection of their own."""
    engine = create_engine(sqlite)
    pipeline = Pipeline(Stage("s", same), sink=DatabaseSink(sqlite, max_items=7), scheduler=scheduler)

    async def found() -> list[Any]:
        return [status_of(engine, done.id) async for done in pipeline.stream(range(50))]

    assert asyncio.run(found()) == ["written"] * 50
    engine.dispose()


def status_of(engine: Engine, item: Any) -> Any:
    with engine.connect() as connection:
        query = text("SELECT status FROM results WHERE id = :id")
        return connection.execute(query, {"id": str(item)}).scalar_one()


def given(answer: str, _: int) -> dict[str, str]:
    return {"answer": answer}


def test_a_second_run_updates_the_same_rows(sqlite: str) -> None:
    """One row for each ID."""
    for answer in ("first", "second"):
        sink = DatabaseSink(sqlite)
        Pipeline(Stage("s", partial(given, answer)), sink=sink).run(range(20))
    rows = rows_of(sqlite)
    assert len(rows) == 20
    assert {row.answer for row in rows.values()} == {"second"}


# A database that is slow, away, or full


def test_a_slow_database_slows_the_source(sqlite: str, held: HeldWriter) -> None:
    """Five rows are being written, five wait, one is at the exit, and the stage is full with two."""
    held.may_write.clear()
    ids = Ids(1000)
    sink = DatabaseSink(sqlite, max_items=5, max_seconds=3600)
    run = Pipeline(Stage("s", same, concurrency=1, queue_size=1), sink=sink).start(ids)
    assert held.is_at_work.wait(LIMIT)
    ids.wait_for(13)
    assert (run.taken, ids.given) == (13, 13)
    run.stop()
    held.may_write.set()
    assert counts(finish(run)) == (13, 13, 0, 0)


def test_while_the_database_is_away_the_same_rows_are_tried_again(sqlite: str, held: HeldWriter) -> None:
    """After 1, 2 and 4 s; no stage is called again."""
    held.errors = [AWAY] * 3
    calls: list[int] = []

    def call(value: int) -> int:
        calls.append(value)
        return value

    retry = Retry(max_attempts=4, initial=1, max_delay=60, jitter=0)
    report = run_virtually(Pipeline(Stage("s", call), sink=DatabaseSink(sqlite, retry=retry)), range(5))
    assert counts(report) == (5, 5, 0, 0)
    assert held.batches == [[0, 1, 2, 3, 4]] * 4
    assert report.seconds == pytest.approx(7.0, abs=0.06)
    assert calls == [0, 1, 2, 3, 4]
    assert len(rows_of(sqlite)) == 5


def test_by_default_a_minute_is_waited_for_the_database(sqlite: str, held: HeldWriter) -> None:
    """A restart takes less."""
    held.errors = [AWAY] * 17
    report = run_virtually(Pipeline(Stage("s", same), sink=DatabaseSink(sqlite)), [1])
    assert counts(report) == (1, 1, 0, 0)
    assert 45 < report.seconds < 90


def test_a_locked_database_is_waited_for(tmp_path: Path, held: HeldWriter) -> None:
    """By another process, say."""
    url = f"sqlite:///{tmp_path / 'bank.db'}?timeout=0.01"
    Pipeline(Stage("s", same), sink=DatabaseSink(url)).run([])
    engine = create_engine(url)
    with engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        retry = Retry(max_attempts=1000, initial=0.01, max_delay=0.01, retry_on=exc.OperationalError)
        run = Pipeline(Stage("s", same), sink=DatabaseSink(url, retry=retry)).start(range(5))
        while len(held.batches) < 3:
            held.is_at_work.wait(LIMIT)
            held.is_at_work.clear()
        other.rollback()
        assert counts(finish(run)) == (5, 5, 0, 0)
    engine.dispose()


def test_a_database_that_stays_away_ends_the_run(sqlite: str, held: HeldWriter) -> None:
    """With the reason, and every item accounted for."""
    held.errors = [AWAY] * 2
    sink = DatabaseSink(sqlite, retry=Retry(max_attempts=2, initial=0, max_delay=0))
    seen = Seen()
    run = Pipeline(Stage("s", same), sink=sink).start(Ids(10_000), seen)
    with pytest.raises(SinkError, match=r"stayed away for too long: .*server closed the connection") as caught:
        finish(run)
    assert caught.value.__cause__ is AWAY
    report = run.report()
    assert report.taken == report.written + report.cancelled == len(seen.outcomes) < 10_000
    assert len(rows_of(sqlite)) == report.written


def test_what_waiting_cannot_cure_ends_the_run_at_once(sqlite: str) -> None:
    """As a table that is gone."""
    engine = create_engine(sqlite)

    def call(value: int) -> int:
        if value == 3:
            with engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE results")
        return value

    with pytest.raises(SinkError, match="no such table"):
        Pipeline(Stage("s", call, concurrency=1), sink=DatabaseSink(sqlite)).run(range(100))
    engine.dispose()


def test_an_error_that_is_nobodys_fault_is_not_called_an_absence(sqlite: str, held: HeldWriter) -> None:
    """It is a bug, and looks like one."""
    held.errors = [SystemExit("bug")]
    with pytest.raises(SinkError, match=r"rows cannot be written: .*SystemExit: bug"):
        Pipeline(Stage("s", same), sink=DatabaseSink(sqlite)).run([1])


@pytest.mark.slow
def test_rows_are_there_once_though_the_server_cuts_the_connection(postgres: str, name: str) -> None:
    """In the middle of three transactions."""
    engine, killer = create_engine(postgres), create_engine(postgres)
    kill = text("SELECT pg_terminate_backend(:pid)")
    inserts: list[str] = []

    def cut(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT"):
            inserts.append(statement)
            if len(inserts) in (2, 5, 6):
                pid = connection.connection.dbapi_connection.info.backend_pid
                with killer.connect() as other:
                    assert other.execute(kill, {"pid": pid}).scalar_one()

    event.listen(engine, "after_cursor_execute", cut)
    sink = DatabaseSink(engine, table=name, max_items=20)
    try:
        report = Pipeline(Stage("s", same, concurrency=1), sink=sink).run(range(200))
        assert counts(report) == (200, 200, 0, 0)
        assert len(inserts) >= 13
        assert len(rows_of(postgres, name)) == 200
    finally:
        drop(postgres, name)
        engine.dispose()
        killer.dispose()
