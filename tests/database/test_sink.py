from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import reactivex
from pipeline_helpers import SCHEDULERS, WAYS, Ids, Seen, counts, finish, run_virtually, same
from reactivex import Observable
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, event, exc, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rxpipe import ConfigError, DatabaseSink, Outcome, Pipeline, Retry, SinkError, Stage
from rxpipe.database import RowRefused, default_table
from rxpipe.database.writer import Writer
from rxpipe.pipeline import Scheduler
from rxpipe.strategies import Strategy

from .held_writer import LIMIT, HeldWriter
from .sink_helpers import outcome, stored

AWAY = exc.OperationalError("INSERT", {}, ConnectionError("server closed the connection"), connection_invalidated=True)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldWriter:
    return HeldWriter(monkeypatch)


def rows_of(database: Any, table: Any = "questions") -> dict[Any, Any]:
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
    stream: Any = scheduler.create_hot_observable(
        ReactiveTest.on_next(10, outcome(1)),
        ReactiveTest.on_next(10.03, outcome(2)),
        ReactiveTest.on_next(20, outcome(3)),
    )
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
    found: list[Any] = []

    def look(done: Outcome[Any]) -> None:
        with engine.connect() as connection:
            status = connection.execute(text("SELECT status FROM questions WHERE id = :id"), {"id": str(done.id)})
            found.append(status.scalar_one())

    pipeline = Pipeline(Stage("s", same), sink=DatabaseSink(sqlite, max_items=7))
    finish(pipeline.start(range(50), Seen(look)))
    engine.dispose()
    assert found == ["written"] * 50


def test_a_second_run_updates_the_same_rows(sqlite: str) -> None:
    """One row for each ID."""
    for answer in ("first", "second"):
        sink = DatabaseSink(sqlite)
        Pipeline(Stage("s", lambda _, answer=answer: {"answer": answer}), sink=sink).run(range(20))
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
    ids.wait_for(14)
    assert (run.taken, ids.given) == (13, 14)
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
    DatabaseSink(url).open()(reactivex.empty()).subscribe()
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
    with pytest.raises(SinkError, match="stayed away for too long: .*server closed the connection") as caught:
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
                connection.exec_driver_sql("DROP TABLE questions")
        return value

    with pytest.raises(SinkError, match="no such table"):
        Pipeline(Stage("s", call, concurrency=1), sink=DatabaseSink(sqlite)).run(range(100))
    engine.dispose()


def test_an_error_that_is_nobodys_fault_is_not_called_an_absence(sqlite: str, held: HeldWriter) -> None:
    """It is a bug, and looks like one."""
    held.errors = [SystemExit("bug")]
    with pytest.raises(SinkError, match="rows cannot be written: .*SystemExit: bug"):
        Pipeline(Stage("s", same), sink=DatabaseSink(sqlite)).run([1])


@pytest.mark.slow
def test_rows_are_there_once_though_the_server_cuts_the_connection(postgres: str, name: str) -> None:
    """While the run lasts, three times."""
    killer = create_engine(postgres)
    kill = text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = :name")
    killed = 0

    def cut(done: Outcome[Any]) -> None:
        nonlocal killed
        if done.id in (10, 60, 110):
            with killer.connect() as connection:
                killed += connection.execute(kill, {"name": name[:40]}).scalar_one()

    sink = DatabaseSink(f"{postgres}?application_name={name[:40]}", table=name, max_items=20)
    try:
        report = finish(Pipeline(Stage("s", same, concurrency=1), sink=sink).start(range(200), Seen(cut)))
        assert counts(report) == (200, 200, 0, 0)
        assert killed >= 3
        assert len(rows_of(postgres, name)) == 200
    finally:
        drop(postgres, name)
        killer.dispose()


# Rows that are refused


def strict(name: str = "strict") -> Table:
    return Table(name, MetaData(), Column("id", Integer, primary_key=True), Column("word", String(9), nullable=False))


def test_a_row_that_is_refused_fails_alone(sqlite: str) -> None:
    """Its outcome is a failed one, of the stage ``database``."""
    seen = Seen()
    sink = DatabaseSink(sqlite, table=strict(), row=lambda done: {"id": done.id, "word": done.value})
    run = Pipeline(Stage("s", lambda value: None if value == 3 else "w"), sink=sink).start(range(6), seen)
    assert counts(finish(run)) == (6, 5, 1, 0)
    (failed,) = (done for done in seen.outcomes if done.status == "failed")
    assert (failed.id, failed.stage) == (3, "database")
    assert isinstance(failed.error, RowRefused)
    assert set(rows_of(sqlite, strict())) == {0, 1, 2, 4, 5}


def test_outcomes_come_in_the_order_in_which_they_went_in(sqlite: str) -> None:
    """Refused ones among them."""
    sink = DatabaseSink(sqlite, max_items=3)
    source: Observable[Outcome[Any]] = reactivex.of(*(outcome(n, object() if n % 2 else "x") for n in range(10)))
    out: list[Any] = []
    over = threading.Event()
    sink.open()(source).subscribe(lambda done: out.append((done.id, done.status)), None, over.set)
    assert over.wait(LIMIT)
    assert out == [(number, "failed" if number % 2 else "written") for number in range(10)]


# Tables and engines of the user's own


class Base(DeclarativeBase):
    pass


class Question(Base):
    __tablename__ = "own_questions"
    id: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[str] = mapped_column("text")


@pytest.mark.parametrize("row", [None, lambda done: {"id": done.id, "words": done.value["words"]}])
def test_rows_may_go_into_an_orm_class(sqlite: str, row: Any) -> None:
    """By the names of its attributes, or by a function."""
    sink = DatabaseSink(sqlite, table=Question, row=row)
    report = Pipeline(Stage("s", lambda number: {"words": f"{number}?"}), sink=sink).run(range(5))
    assert counts(report) == (5, 5, 0, 0)
    engine = create_engine(sqlite)
    with engine.connect() as connection:
        found = connection.execute(select(Question.id, Question.words)).all()
    engine.dispose()
    assert sorted(map(tuple, found)) == [(number, f"{number}?") for number in range(5)]


def test_the_default_table_may_have_another_name(sqlite: str) -> None:
    """And be read as ``default_table`` says."""
    Pipeline(Stage("s", same), sink=DatabaseSink(sqlite, table="other")).run([1])
    assert list(rows_of(sqlite, default_table("other"))) == ["1"]


def test_an_engine_of_the_users_stays_open(sqlite: str) -> None:
    """Its connections go back to its pool."""
    engine = create_engine(sqlite)
    disposed: list[Engine] = []
    event.listen(engine, "engine_disposed", disposed.append)
    sink = DatabaseSink(engine)
    for _ in range(2):
        assert counts(Pipeline(Stage("s", same), sink=sink).run(range(5))) == (5, 5, 0, 0)
    assert disposed == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM questions")).scalar_one() == 5
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_lasts_as_long_as_the_run(url: str) -> None:
    """For a trial."""
    assert counts(Pipeline(Stage("s", same), sink=DatabaseSink(url)).run(range(5))) == (5, 5, 0, 0)


# What is opened is closed


def test_the_database_is_closed_before_the_end_is_told(sqlite: str, held: HeldWriter) -> None:
    """Whoever waits for the run can move its file."""
    closed: list[int] = []
    seen = Seen()
    seen.on_completed = lambda: closed.append(held.closed)  # type: ignore[method-assign]
    finish(Pipeline(Stage("s", same), sink=DatabaseSink(sqlite)).start([1], seen))
    assert closed == [1]


def test_a_run_that_is_disposed_of_closes_its_database(sqlite: str, held: HeldWriter) -> None:
    """When the batch that is being written is committed."""
    held.may_write.clear()
    run = Pipeline(Stage("s", same), sink=DatabaseSink(sqlite)).start(range(5))
    assert held.is_at_work.wait(LIMIT)
    run.subscription.dispose()
    assert held.closed == 0
    held.may_write.set()
    assert held.is_closed.wait(LIMIT)
    assert run.cancelled == run.taken


def test_a_sink_disposed_of_while_it_is_idle_is_closed_at_once(sqlite: str, held: HeldWriter) -> None:
    """There is nothing to wait for."""
    DatabaseSink(sqlite).open()(reactivex.never()).subscribe().dispose()
    assert held.closed == 1


def test_when_the_source_fails_what_has_arrived_is_written_first(sqlite: str) -> None:
    """In a chain without a pipeline."""
    source: Subject[Outcome[Any]] = Subject()
    out: list[Any] = []
    errors: list[Exception] = []
    over = threading.Event()

    def on_error(error: Exception) -> None:
        errors.append(error)
        over.set()

    DatabaseSink(sqlite, max_seconds=3600).open()(source).subscribe(out.append, on_error)
    source.on_next(outcome(1))
    source.on_error(LookupError("source"))
    assert over.wait(LIMIT)
    assert ([done.id for done in out], repr(errors)) == ([1], "[LookupError('source')]")
    assert list(rows_of(sqlite)) == ["1"]


def test_the_operator_may_be_subscribed_to_again(sqlite: str) -> None:
    """As by ``retry``; the database is opened again."""
    chain = reactivex.of(outcome(1)).pipe(DatabaseSink(sqlite).open())
    for _ in range(2):
        over = threading.Event()
        chain.subscribe(None, None, over.set)
        assert over.wait(LIMIT)


def test_a_sink_serves_several_runs_at_once(sqlite: str) -> None:
    """Each has a writer of its own."""
    sink = DatabaseSink(sqlite)
    runs = [Pipeline(Stage("s", same), sink=sink).start(range(start, start + 20)) for start in (0, 20, 40)]
    assert [counts(finish(run)) for run in runs] == [(20, 20, 0, 0)] * 3
    engine = create_engine(sqlite)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(default_table())).scalar_one() == 60
    engine.dispose()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"table": ""}, ConfigError, "table: a name"),
        ({"row": 5}, ConfigError, "row: a function"),
        ({"max_items": 0}, ValueError, "max_items must be at least 1"),
        ({"max_seconds": -1}, ValueError, "max_seconds must be at least 0"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """Not when it is opened."""
    with pytest.raises(error, match=message):
        DatabaseSink("sqlite://", **options)
