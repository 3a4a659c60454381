"""Sinks with tables and engines of the user's own, rows that are refused, and closing what was opened."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import reactivex
from pipeline_helpers import Seen, counts, finish, same
from reactivex import Observable
from reactivex.subject import Subject
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, event, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from rxpipe import ConfigError, DatabaseSink, Outcome, Pipeline, Stage
from rxpipe.database import RowRefused, default_table
from rxpipe.database.writer import Writer

from .held_writer import LIMIT, HeldWriter
from .sink_helpers import outcome, stored


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldWriter:
    return HeldWriter(monkeypatch)


def rows_of(database: Any, table: Any = "results") -> dict[Any, Any]:
    with Writer(database, table=table) as writer:
        return stored(writer)


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


def words_of(done: Outcome[Any]) -> dict[str, Any]:
    return {"id": done.id, "words": done.value["words"]}


@pytest.mark.parametrize("row", [None, words_of])
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
        assert connection.execute(text("SELECT count(*) FROM results")).scalar_one() == 5
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
        assert connection.execute(select(func.count()).select_from(default_table("results"))).scalar_one() == 60
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
