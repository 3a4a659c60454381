"""Pipelines with a store: what a later run does with what an earlier one left."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pipeline_helpers import LIMIT, counts
from reactivex import Observer
from sqlalchemy import Column, MetaData, String, Table, create_engine, insert
from structlog.testing import capture_logs

from rxpipe import ConfigError, DatabaseSink, Outcome, Pipeline, Retry, RunStore, Stage
from rxpipe.database import default_table
from rxpipe.errors import StagesChanged, StoreError
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.run.run import Run
from rxpipe.store.items.process_identity import this_process
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, RUNS, WORKERS, db_now

from .bank import STAGES, Bank, nothing, rows, states

QUESTIONS = default_table("results")
WAYS = [("per_stage", "threads"), ("per_stage", "asyncio"), ("per_item", "threads"), ("per_item", "asyncio")]


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_every_stage_of_every_item_is_kept(store_url: str, strategy: Any, scheduler: Any) -> None:
    """With what it returned, and the row beside them."""
    report = Bank(store_url).pipeline(strategy=strategy, scheduler=scheduler).run(range(30))
    assert counts(report) == (30, 30, 0, 0)
    assert set(states(store_url).values()) == {"written"}
    kept = {(row.item_key, row.stage) for row in rows(store_url, CHECKPOINTS)}
    assert kept == {(str(number), stage) for number in range(30) for stage in range(3)}
    assert {row.id: row.answer for row in rows(store_url, QUESTIONS)} == {str(n): f"answer {n}" for n in range(30)}


def test_a_finished_run_has_nothing_left_to_do(store_url: str) -> None:
    """Its IDs are not called with again, and the report says that they were written before."""
    bank = Bank(store_url)
    bank.pipeline().run(range(10))
    report = bank.pipeline().run(range(10))
    assert counts(report) == (0, 0, 0, 0)
    assert (report.run, report.written_before) == (1, 10)
    assert bank.called("generation") == sorted(range(10), key=str)


def test_new_ids_are_added(store_url: str) -> None:
    """Those of the source that the run does not know yet."""
    bank = Bank(store_url)
    bank.pipeline().run(range(10))
    assert counts(bank.pipeline().run(range(15))) == (5, 5, 0, 0)
    assert bank.called("grading") == sorted(range(15), key=str)


def test_fresh_begins_a_new_run(store_url: str) -> None:
    """Every call is made again, and the former run is kept."""
    bank = Bank(store_url)
    bank.pipeline().run(range(3))
    report = bank.pipeline(RunStore(fresh=True)).run(range(3))
    assert (report.run, report.written, report.written_before) == (2, 3, 0)
    assert set(bank.calls.values()) == {2}
    assert [(row.generation, row.finished_at is not None) for row in rows(store_url, RUNS)] == [(1, True), (2, True)]


def test_runs_of_other_names_do_not_meet(store_url: str) -> None:
    """A name is the table's, unless the store has one."""
    bank = Bank(store_url)
    bank.pipeline().run(range(3))
    assert bank.pipeline(RunStore(name="other")).run(range(3)).taken == 3


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_a_cancelled_run_goes_on_behind_its_checkpoints(store_url: str, scheduler: Any) -> None:
    """What had returned is not called again, what had not is."""
    written, hold = threading.Semaphore(0), threading.Event()

    def act(stage: str, item_id: Any) -> None:
        if stage == "answering" and item_id == 5:
            hold.wait(LIMIT)

    bank = Bank(store_url, act)
    pipeline = bank.pipeline(scheduler=scheduler, concurrency=1)

    def started(run: Run) -> None:
        def abort() -> None:
            assert all(written.acquire(timeout=LIMIT) for _ in range(5))
            run.abort()
            hold.set()

        threading.Thread(target=abort).start()

    observer: Observer[Outcome[Any]] = Observer(lambda outcome: written.release())
    assert run_blocking(pipeline, range(6), observer=observer, started=started).cancelled == 1
    assert states(store_url)["5"] == "ready"
    assert [row.crashes for row in rows(store_url, ITEMS)] == [0] * 6
    bank.act = nothing
    bank.pipeline(scheduler=scheduler).run(range(6))
    assert set(states(store_url).values()) == {"written"}
    assert {key: times for key, times in bank.calls.items() if times > 1} == {("answering", 5): 2}


def test_a_failed_item_is_a_dead_letter(store_url: str) -> None:
    """All of its failed calls are kept, the last one as final, with what it was called with."""

    def act(stage: str, item_id: Any) -> None:
        if (stage, item_id) == ("answering", 3):
            raise ValueError("no answer to that")

    bank = Bank(store_url, act)
    retry = Retry(max_attempts=2, initial=0.0, max_delay=0.0)
    assert counts(bank.pipeline(retry=retry).run(range(5))) == (5, 4, 1, 0)
    (item,) = [row for row in rows(store_url, ITEMS) if row.state == "failed"]
    assert (item.item_key, item.stage, item.failures, item.attempts) == ("3", 1, 2, 3)
    assert item.last_error == "ValueError: no answer to that"
    failures = sorted(rows(store_url, FAILURES), key=lambda row: row.final)
    assert [(row.stage, row.attempt, row.final) for row in failures] == [
        ("answering", 1, False),
        ("answering", 2, True),
    ]
    for row in failures:
        assert (row.type, row.text) == ("ValueError", "ValueError: no answer to that")
        assert "in act" in row.traceback
        assert '"question 3"' in row.input
    (failed,) = [row for row in rows(store_url, QUESTIONS) if row.status == "failed"]
    assert (failed.id, failed.stage) == ("3", "answering")


def test_a_dead_letter_is_not_tried_again(store_url: str) -> None:
    """A later run says how many there are."""

    def act(stage: str, item_id: Any) -> None:
        if item_id == 3:
            raise ValueError("no")

    bank = Bank(store_url, act)
    bank.pipeline().run(range(5))
    report = bank.pipeline().run(range(5))
    assert (report.taken, report.failed_before) == (0, 1)
    assert bank.calls["generation", 3] == 1


def test_a_fresh_run_beside_workers_of_the_former(postgres_url: str) -> None:
    """They would write into the same table."""
    go_on, begun = threading.Event(), threading.Event()

    def act(stage: str, item_id: Any) -> None:
        begun.set()
        go_on.wait(LIMIT)

    bank = Bank(postgres_url, act)
    done = threading.Event()
    bank.pipeline().outcomes(range(3)).subscribe(on_completed=done.set)
    assert begun.wait(LIMIT)
    with pytest.raises(StoreError, match="workers that write into the same table"):
        bank.pipeline(RunStore(fresh=True)).run(range(3))
    go_on.set()
    assert done.wait(LIMIT)


def test_disposing_gives_back_what_is_on_its_way(store_url: str) -> None:
    """Without a mark against it."""
    begun, go_on = threading.Event(), threading.Event()

    def act(stage: str, item_id: Any) -> None:
        begun.set()
        go_on.wait(LIMIT)

    bank = Bank(store_url, act)
    subscription = bank.pipeline().outcomes(range(50)).subscribe()
    assert begun.wait(LIMIT)
    subscription.dispose()
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "rxpipe-release":
            thread.join(LIMIT)
    assert "running" not in states(store_url).values()
    assert {row.crashes for row in rows(store_url, ITEMS)} == {0}
    assert [row.ended_as for row in rows(store_url, WORKERS)] == ["stopped"]
    bank.act = nothing
    assert bank.pipeline().run(range(50)).written == 50


def test_changed_stages_are_told(store_url: str) -> None:
    """With what changed, and what going on would do; nothing is called."""
    bank = Bank(store_url)
    bank.pipeline().run(range(4))
    calls = dict(bank.calls)
    with pytest.raises(StagesChanged) as caught:
        bank.pipeline(versions=(None, 2, None)).run(range(4))
    assert "stage answering has version 2 instead of no version" in str(caught.value)
    assert "keeps what generation returned, and calls the rest again, also for 4 items" in str(caught.value)
    assert "It is for one run: take it out afterwards." in str(caught.value)
    assert dict(bank.calls) == calls


def test_resuming_with_changed_stages(store_url: str) -> None:
    """What comes before the first change is kept, the rest is called again."""
    bank = Bank(store_url)
    bank.pipeline().run(range(4))
    with capture_logs() as logs:
        report = bank.pipeline(RunStore(resume=True), versions=(None, 2, None)).run(range(4))
    assert counts(report) == (4, 4, 0, 0)
    (told,) = [log["event"] for log in logs if log["log_level"] == "warning"]
    assert told.startswith(
        "run 1 goes on with other stages: stage answering has version 2 instead of no version. 4 items that had come "
        "further are called again. --resume (RunStore(resume=True)) is for one run: take it out now"
    )
    assert [sum(times for (name, _), times in bank.calls.items() if name == stage) for stage in STAGES] == [4, 8, 8]
    with capture_logs() as logs:
        assert bank.pipeline(RunStore(resume=True), versions=(None, 2, None)).run(range(4)).taken == 0
    assert not logs


@pytest.mark.parametrize("alive", [False, True])
def test_resuming_with_changed_stages_beside_a_worker(store_url: str, alive: bool) -> None:
    """One that is busy with the former stages keeps others from it, one that is certainly dead does not."""
    bank = Bank(store_url)
    bank.pipeline().run(range(4))
    ended = f"{(this_process() or 'x 1 1').rsplit(' ', 2)[0]} 4194304 1"
    engine = create_engine(store_url)
    with engine.begin() as connection:
        row = {"id": "f" * 32, "run_id": 1, "host": "h", "pid": 1, "process": None if alive else ended, "lease": 60.0}
        connection.execute(insert(WORKERS).values(**row, started_at=db_now(), heartbeat_at=db_now()))
    engine.dispose()
    changed = bank.pipeline(RunStore(resume=True), versions=(None, 2, None))
    if alive and store_url.startswith("postgresql"):  # SQLite has one process at a time, so that worker is dead
        with pytest.raises(
            StoreError, match=r"busy with other stages: stop them first \(rxpipe workers --database \S+ lists them\)"
        ):
            changed.run(range(4))
    else:
        assert changed.run(range(4)).written == 4


def test_a_second_process_on_one_sqlite_file_is_refused(sqlite_url: str) -> None:
    """With a message that names PostgreSQL, while the first goes on."""
    go_on = threading.Event()
    begun = threading.Event()

    def act(stage: str, item_id: Any) -> None:
        begun.set()
        go_on.wait(LIMIT)

    bank = Bank(sqlite_url, act)
    done = threading.Event()
    bank.pipeline().outcomes(range(3)).subscribe(on_completed=done.set)
    assert begun.wait(LIMIT)
    with pytest.raises(StoreError, match="one process at a time; for several workers use PostgreSQL"):
        bank.pipeline().run(range(3))
    go_on.set()
    assert done.wait(LIMIT)


def test_a_refused_row_is_a_dead_letter(store_url: str) -> None:
    """Its checkpoints stay, and the others are written."""
    table = Table(
        "short", MetaData(), Column("id", String(20), primary_key=True), Column("text", String(20), nullable=False)
    )

    def row(outcome: Outcome[Any]) -> dict[str, Any]:
        return {"id": str(outcome.id), "text": None if outcome.id == 3 else outcome.value["answer"]}

    bank = Bank(store_url)
    report = bank.pipeline(sink=DatabaseSink(store_url, table=table, row=row)).run(range(5))
    assert counts(report) == (5, 4, 1, 0)
    (item,) = [one for one in rows(store_url, ITEMS) if one.state == "failed"]
    assert (item.item_key, item.stage) == ("3", 3)
    (failure,) = rows(store_url, FAILURES)
    assert (failure.stage, failure.final) == ("database", True)
    assert len(rows(store_url, table)) == 4


def test_a_row_that_is_refused_at_the_commit(postgres_url: str) -> None:
    """A constraint that is checked late refuses a whole transaction: the others are committed without it."""
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE kind (name text PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO kind VALUES ('good')")
        connection.exec_driver_sql(
            "CREATE TABLE late (id text PRIMARY KEY, kind text REFERENCES kind DEFERRABLE INITIALLY DEFERRED)"
        )
    engine.dispose()
    table = Table("late", MetaData(), Column("id", String(), primary_key=True), Column("kind", String()))

    def row(outcome: Outcome[Any]) -> dict[str, Any]:
        return {"id": str(outcome.id), "kind": "bad" if outcome.id == 3 else "good"}

    report = Bank(postgres_url).pipeline(sink=DatabaseSink(postgres_url, table=table, row=row)).run(range(8))
    assert counts(report) == (8, 7, 1, 0)
    assert sorted(one.id for one in rows(postgres_url, table)) == [str(n) for n in range(8) if n != 3]
    assert states(postgres_url)["3"] == "failed"


def test_a_store_without_a_sink(store_url: str) -> None:
    """The checkpoints are the results."""
    report = Pipeline(Stage("work", str), store=RunStore(store_url)).run(range(3))
    assert report.written == 3
    assert sorted(row.output for row in rows(store_url, CHECKPOINTS)) == ['"0"', '"1"', '"2"']


def test_a_users_engine_stays_open(store_url: str) -> None:
    """It is shared by store and sink, and left alone at the end."""
    engine = create_engine(store_url)
    try:
        report = Bank(store_url).pipeline(sink=DatabaseSink(engine)).run(range(3))
        assert report.written == 3
        with engine.connect() as connection:
            assert len(connection.execute(QUESTIONS.select()).all()) == 3
    finally:
        engine.dispose()


def test_a_store_of_another_database_than_the_sinks() -> None:
    """An item and its row could not be committed together."""
    with pytest.raises(ConfigError, match="is not the sink's"):
        Bank("sqlite:///a.db").pipeline(RunStore("sqlite:///b.db"))


def test_a_store_wants_a_database() -> None:
    """Without a sink it has none."""
    with pytest.raises(ConfigError, match="needs a database of its own"):
        Pipeline(Stage("work", str), store=RunStore())


def test_staged_runs_have_no_store() -> None:
    """They hold all results to the end."""
    with pytest.raises(ValueError, match="staged"):
        Bank("sqlite:///a.db").pipeline(strategy="staged")


@pytest.mark.parametrize(
    "url", ["mysql+pymysql://root@127.0.0.1/test", "sqlite://", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_databases_that_cannot_hold_a_store(url: str) -> None:
    """They are refused before anything is opened."""
    with pytest.raises(ConfigError, match="run store"):
        Bank(url).pipeline().run(range(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heartbeat": 0}, "heartbeat"),
        ({"heartbeat": 40, "lease": 60}, "heartbeat"),
        ({"max_crashes": 1}, "max_crashes"),
        ({"fresh": True, "resume": True}, "give one of them"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    """They are named."""
    with pytest.raises(ValueError, match=message):
        RunStore(**options)


def test_nothing_of_a_run_is_left_running(store_url: str) -> None:
    """Neither its heartbeat nor its source's thread."""
    before = set(threading.enumerate())
    Bank(store_url).pipeline().run(range(5))
    for thread in set(threading.enumerate()) - before:
        thread.join(LIMIT)
        assert not thread.is_alive(), thread.name
