"""What a store tells of its runs: as a whole, stage by stage, by failed call and by worker."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select, text, update

from rxpipe.errors import ConfigError, SinkError, StoreError
from rxpipe.store.items.process_identity import this_process
from rxpipe.store.maintenance.requeue import requeue
from rxpipe.store.queries.details import details
from rxpipe.store.queries.existing_store import change, opened, snapshot
from rxpipe.store.queries.failures import count_failed, count_failed_calls, dead_letters, failed_calls
from rxpipe.store.queries.history import RunInfo, run, runs, workers
from rxpipe.store.schema.tables import ITEMS, RUNS, WORKERS

from .stores import FAILED, IDS, Answer, answer, bank, connected, live, looking

pytest_plugins = ("store.store_fixtures",)


def counts(one: RunInfo) -> tuple[int, int, int, int]:
    """Written, failed, ready, running."""
    return one.written, one.failed, one.ready, one.running


def change_workers(url: str, **values: Any) -> None:
    """Bring workers into a state that takes a minute, or another machine, to come about."""
    with connected(url) as connection:
        connection.execute(update(WORKERS).values(**values))
        connection.commit()


def test_finished_run(bank_url: str) -> None:
    """A run that has ended is finished, with every item written or failed and every call counted."""
    with looking(bank_url) as connection:
        (one,) = runs(connection)
    assert (one.id, one.name, one.generation, one.state, one.workers) == (1, "bank", 1, "finished", 0)
    assert counts(one) == (6, 4, 0, 0)
    assert one.items == len(IDS)
    assert one.calls == 10 + 12 + 8
    assert one.finished_at is not None
    assert one.created_at <= one.finished_at <= one.active_at


def test_stopped_run(halted_url: str) -> None:
    """A run that was stopped is unfinished, and what was on its way is ready."""
    with looking(halted_url) as connection:
        one = run(connection)
    assert (one.state, one.workers, one.finished_at) == ("unfinished", 0, None)
    assert counts(one) == (1, 0, 2, 0)


@pytest.mark.slow
def test_live_run(store_url: str) -> None:
    """While a run goes on, one can look at it: its worker, and the items that it has."""
    with live(store_url), looking(store_url) as connection:
        one = run(connection)
        (worker,) = workers(connection)
    assert (one.state, one.workers, one.finished_at) == ("running", 1, None)
    assert counts(one) == (1, 0, 0, 2)
    assert (worker.run_id, worker.state, worker.held, worker.ended_at) == (1, "alive", 2, None)


@pytest.mark.slow
def test_new_items_of_a_finished_run(bank_url: str) -> None:
    """A run that goes on after it was finished has no end for now, though it had one."""
    seen: list[RunInfo] = []

    @wraps(answer)
    def look(question: dict[str, Any]) -> Answer:
        with looking(bank_url) as connection:
            seen.append(run(connection))
        return answer(question)

    bank(bank_url, answering=look).run(["new"])
    assert [(one.state, one.finished_at, one.running) for one in seen] == [("running", None, 1)]


def test_runs_are_in_order(three_url: str) -> None:
    """All runs are listed, the first one first; those of a name are generations."""
    with looking(three_url) as connection:
        found = runs(connection)
    assert [(one.id, one.name, one.generation) for one in found] == [(1, "bank", 1), (2, "bank", 2), (3, "other", 1)]
    assert [one.items for one in found] == [2, 1, 1]


def test_latest_run(three_url: str) -> None:
    """Without a number it is the latest run."""
    with looking(three_url) as connection:
        assert (run(connection).id, run(connection, 2).id) == (3, 2)


@pytest.mark.parametrize("number", [0, 4, 2**31, 10**30])
def test_no_such_run(three_url: str, number: int) -> None:
    """A run that is not there is told with those that are."""
    with looking(three_url) as connection, pytest.raises(StoreError, match=rf"no run {number}; known: 3, 2, 1$"):
        run(connection, number)


def test_store_without_runs(no_runs_url: str) -> None:
    """An empty store has no runs and no workers, and no latest run."""
    with looking(no_runs_url) as connection:
        assert (runs(connection), workers(connection, ended=True)) == ([], [])
        with pytest.raises(StoreError, match="has no runs"):
            run(connection)


def test_stages_of_a_run(bank_url: str) -> None:
    """Each stage is told with its function, its version and what came of its calls; so is the writing of rows."""
    with looking(bank_url) as connection:
        stages = details(connection, run(connection)).stages
    assert [(one.name, one.checkpoints, one.failed_calls, one.failed) for one in stages] == [
        ("generation", 10, 0, 0),
        ("answering", 8, 4, 2),
        ("grading", 7, 1, 1),
        ("database", 0, 1, 1),
    ]
    assert [(one.call, one.version) for one in stages] == [
        ("store.stores:generate", None),
        ("store.stores:answer", "2"),
        ("store.stores:grade", None),
        (None, None),
    ]


def test_stages_are_told_without_the_database_while_it_takes_all(halted_url: str) -> None:
    """Nothing is said of rows while none was refused."""
    with looking(halted_url) as connection:
        assert [one.name for one in details(connection, run(connection)).stages] == ["generation", "answering"]


def test_causes(bank_url: str) -> None:
    """The commonest errors come first, and texts that differ in numbers are one error."""
    with looking(bank_url) as connection:
        causes = details(connection, run(connection)).causes
    first = causes[0]
    assert (first.count, first.stage, first.type, first.same) == (4, "answering", "ValueError", False)
    assert first.text.startswith("ValueError: no answer to ")
    assert {(one.stage, one.type) for one in causes[1:]} == {
        ("grading", "KeyError"),
        ("database", "rxpipe.database.error_kinds.RowRefused"),
    }


def test_dead_letters(bank_url: str) -> None:
    """Each failed item is told once, with what it failed with in the end."""
    with looking(bank_url) as connection:
        found = list(dead_letters(connection, run(connection)))
    assert {one.id: one.stage for one in found} == FAILED
    assert len(found) == 4
    assert all(one.final and one.state == "failed" and one.traceback is None for one in found)
    assert {one.id: one.calls for one in found} == {3: 3, 4: 3, 6: 3, 8: 3}
    assert {one.text for one in found if one.id == 3} == {"ValueError: no answer to 3"}


def test_dead_letters_in_full(bank_url: str) -> None:
    """Asked for, the traceback and the input are told."""
    with looking(bank_url) as connection:
        (one,) = dead_letters(connection, run(connection), stage="grading", verbose=True)
    assert one.traceback is not None
    assert "in grade" in one.traceback
    assert one.input == '{"number":4,"text":"42\\nor so"}'


@pytest.mark.parametrize(("stage", "ids"), [("answering", {3, 6}), ("database", {8}), ("generation", set[int]())])
def test_dead_letters_of_a_stage(bank_url: str, stage: str, ids: set[int]) -> None:
    """Those that failed in one stage, or that the database refused."""
    with looking(bank_url) as connection:
        one = run(connection)
        assert {failure.id for failure in dead_letters(connection, one, stage=stage)} == ids
        assert count_failed(connection, one, stage) == len(ids)


@pytest.mark.parametrize(("read", "count"), [(dead_letters, 4), (failed_calls, 6)])
def test_limit(bank_url: str, read: Callable[..., Any], count: int) -> None:
    """No more are read than asked for."""
    with looking(bank_url) as connection:
        one = run(connection)
        assert len(list(read(connection, one))) == count
        assert len(list(read(connection, one, limit=2))) == 2


def test_failed_calls(bank_url: str) -> None:
    """All failed calls are told, also those that another one followed."""
    with looking(bank_url) as connection:
        one = run(connection)
        found = list(failed_calls(connection, one, stage="answering"))
        assert (count_failed_calls(connection, one, "answering"), count_failed_calls(connection, one)) == (4, 6)
    assert sorted((failure.id, failure.final) for failure in found) == [(3, False), (3, True), (6, False), (6, True)]


@pytest.mark.slow
def test_items_that_failed_and_are_done(bank_url: str) -> None:
    """An item that was given another chance, and took it, is no dead letter any more; its failed calls are kept."""

    @wraps(answer)
    def works_for_6(question: dict[str, Any]) -> Answer:
        return Answer(question["number"], "at last") if question["number"] == 6 else answer(question)

    with opened(bank_url) as engine, change(engine) as connection:
        requeue(connection, run(connection), stage="answering")
    bank(bank_url, answering=works_for_6).run([])
    with looking(bank_url) as connection:
        one = run(connection)
        assert {letter.id for letter in dead_letters(connection, one)} == {3, 4, 8}
        calls = [(call.id, call.state) for call in failed_calls(connection, one, stage="answering")]
    assert sorted(calls) == 4 * [(3, "failed")] + 2 * [(6, "written")]


def test_ended_workers(halted_url: str) -> None:
    """A worker that has stopped is told when asked for."""
    with looking(halted_url) as connection:
        assert workers(connection) == []
        (worker,) = workers(connection, 1, ended=True)
        assert workers(connection, 2, ended=True) == []
    assert (worker.state, worker.held) == ("stopped", 0)
    assert worker.ended_at is not None
    assert worker.started_at <= worker.ended_at


def test_worker_that_is_late(halted_url: str) -> None:
    """A worker whose lease ran out is late, and its run is not running."""
    change_workers(halted_url, ended_at=None, ended_as=None, process=None, heartbeat_at=WORKERS.c.heartbeat_at - 999)
    with looking(halted_url) as connection:
        assert [worker.state for worker in workers(connection)] == ["late"]
        assert run(connection).state == "unfinished"


def test_worker_of_the_future(halted_url: str) -> None:
    """A sign of life from the future is none: the database's clock was set back since."""
    change_workers(halted_url, ended_at=None, ended_as=None, heartbeat_at=WORKERS.c.heartbeat_at + 999)
    with looking(halted_url) as connection:
        assert [worker.state for worker in workers(connection)] == ["late"]


def test_worker_that_was_killed(halted_url: str) -> None:
    """A worker whose process is gone is lost at once, also before others notice."""
    process = this_process()
    if process is None:
        pytest.skip("this system does not tell processes apart")
    change_workers(halted_url, ended_at=None, ended_as=None, process=f"{process}9")
    with looking(halted_url) as connection:
        assert [worker.state for worker in workers(connection)] == ["lost"]


def test_worker_that_others_lost(halted_url: str) -> None:
    """So is one that others have taken for dead."""
    change_workers(halted_url, ended_as="lost")
    with looking(halted_url) as connection:
        assert workers(connection) == []
        assert [worker.state for worker in workers(connection, ended=True)] == ["lost"]


def test_age_of_a_run(halted_url: str) -> None:
    """A run is as old as the last sign of life."""
    with looking(halted_url) as connection:
        before = run(connection).active_at
    change_workers(halted_url, heartbeat_at=WORKERS.c.heartbeat_at + 999)
    with looking(halted_url) as connection:
        assert 900 < run(connection).active_at - before < 1000


def test_a_snapshot_is_of_one_moment(halted_url: str) -> None:
    """What is committed meanwhile is not seen, so that counts add up."""
    with looking(halted_url) as connection:
        before = run(connection)
        with connected(halted_url) as other:
            other.execute(update(ITEMS).values(state="failed"))
            other.commit()
        assert run(connection) == before
    with looking(halted_url) as connection:
        assert run(connection).failed == 3


def test_a_snapshot_changes_nothing(halted_url: str) -> None:
    """Nothing can be written in it."""
    with pytest.raises(SinkError, match=r"read-?only"), looking(halted_url) as connection:
        connection.execute(update(RUNS).values(name="other"))


def test_a_change_after_a_snapshot(halted_url: str) -> None:
    """The same engine can write afterwards, and what an error leaves is undone."""
    with opened(halted_url) as engine:
        with snapshot(engine) as connection:
            run(connection)
        with change(engine) as connection:
            connection.execute(update(RUNS).values(name="other"))
        with suppress(KeyError), change(engine) as connection:
            connection.execute(update(RUNS).values(name="undone"))
            raise KeyError
        with snapshot(engine) as connection:
            assert run(connection).name == "other"


@pytest.mark.parametrize("store_kind", ["sqlite"])
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_looking_leaves_no_trace(halted_url: str, tmp_path: Path, mode: str) -> None:
    """A SQLite file is the same afterwards, byte by byte, with the same journal mode, and no file is beside it."""
    file = Path(str(make_url(halted_url).database))
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"pragma journal_mode = {mode}")
    before, names = file.read_bytes(), sorted(tmp_path.iterdir())
    with looking(halted_url) as found:
        details(found, run(found))
    assert file.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == names


def test_database_without_a_store(store_url: str) -> None:
    """A database that nothing was kept in is told as such, and stays so."""
    with connected(store_url) as connection:
        connection.execute(text("CREATE TABLE something (id INTEGER)"))
        connection.commit()
    with pytest.raises(StoreError, match="has no run store"), opened(store_url):
        pass


@pytest.mark.parametrize(
    ("version", "told"), [(99, "made by a newer rxpipe; upgrade"), (1, "of an older rxpipe"), (0, "no run store")]
)
def test_store_of_another_version(no_runs_url: str, version: int, told: str) -> None:
    """A store that another rxpipe made is not touched."""
    with connected(no_runs_url) as connection:
        connection.execute(text(f"UPDATE rxpipe_schema SET version = {version}"))
        connection.commit()
    with pytest.raises(StoreError, match=told), opened(no_runs_url):
        pass


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """It is not made by looking."""
    with pytest.raises(SinkError, match="there is no such file"), opened(f"sqlite:///{tmp_path / 'bank.db'}"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_no_database(tmp_path: Path) -> None:
    """What is no database is told, and left alone."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(SinkError, match="file is not a database"), opened(f"sqlite:///{file}"):
        pass


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite://", "plain file"),
        ("sqlite:///:memory:", "plain file"),
        ("mysql+pymysql://root@127.0.0.1:1/x", "SQLite or PostgreSQL, not in mysql"),
    ],
)
def test_database_that_cannot_hold_a_store(url: str, told: str) -> None:
    """Databases that no run is kept in are told without connecting to them."""
    with pytest.raises(ConfigError, match=told), opened(url):
        pass


@pytest.mark.parametrize("store_kind", ["sqlite"])
def test_names_of_files(halted_url: str, tmp_path: Path) -> None:
    """Any name of a file will do, with a blank, a question mark or letters of elsewhere."""
    odd = tmp_path / "a bank? 题库 100%.db"
    Path(str(make_url(halted_url).database)).rename(odd)
    with looking(str(make_url("sqlite://").set(database=str(odd)))) as connection:
        assert run(connection).id == 1


def test_a_writer_that_waits_for_no_reader(halted_url: str) -> None:
    """A look that takes long does not hold up whoever writes."""
    with looking(halted_url) as connection, connected(halted_url) as writer:
        connection.execute(select(RUNS)).all()
        writer.execute(update(RUNS).values(name="written"))
        writer.commit()
