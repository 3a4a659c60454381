"""A store beside a file of rows: each row is there exactly once, whatever happens between the file and the commit."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import Block, finish, same
from sqlalchemy import create_engine, select
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs

from rxpipe import ConfigError, JsonLinesSink, Outcome, Pipeline, Retry, RunStore, SinkError, Stage
from rxpipe.errors import OtherPipeline, StoreError
from rxpipe.files.file_owner import FILES
from rxpipe.files.output_file import OutputFile
from rxpipe.store.maintenance.requeue import requeue_rows
from rxpipe.store.queries.history import run

from .bank import STAGES, Bank, nothing, states

QUICK = Retry(max_attempts=3, initial=0.001, jitter=0)


class FileBank(Bank):
    """A bank whose rows go into a file."""

    def __init__(self, path: Path, act: Callable[[str, Any], object] = nothing, store: str | None = None) -> None:
        super().__init__(store or f"sqlite:///{path}.run.db", act)
        self.path = path
        self.sink: dict[str, Any] = {}
        self.store: dict[str, Any] = {} if store is None else {"database": store}

    def run(self, ids: Any, **options: Any) -> Any:
        """Run it, with options of the pipeline."""
        return self.begin(**options).run(ids)

    def begin(self, **options: Any) -> Pipeline:
        sink: Any = JsonLinesSink(self.path, **self.sink)
        named: dict[str, Any] = {"name": "bank", **options}
        return self.pipeline(RunStore(**self.store), sink=sink, **named)

    def ids(self) -> list[Any]:
        """The IDs of all lines, sorted."""
        return sorted(json.loads(line)["id"] for line in self.path.read_bytes().splitlines())

    def known(self) -> tuple[int, bool]:
        """What the store knows: the length, and whether a worker writes."""
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.connect() as connection:
            row = connection.execute(select(FILES)).one()
        return row.length, row.is_open


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def bank(path: Path) -> FileBank:
    return FileBank(path)


@pytest.fixture(params=["beside", "postgres"])
def any_bank(request: pytest.FixtureRequest, path: Path) -> FileBank:
    """With the store in a file beside the rows, and on a server."""
    return FileBank(path, store=None if request.param == "beside" else request.getfixturevalue("postgres_url"))


def test_a_run_goes_on(any_bank: FileBank) -> None:
    """With new IDs; the rows of the first part stay as they are."""
    assert any_bank.run(range(20)).written == 20
    before = any_bank.path.read_bytes()
    assert any_bank.run(range(30)).written == 10
    assert any_bank.path.read_bytes().startswith(before)
    assert any_bank.ids() == list(range(30))
    assert any_bank.known() == (any_bank.path.stat().st_size, False)
    assert set(any_bank.calls.values()) == {1}


def test_the_store_is_beside_the_file(bank: FileBank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if both are moved together."""
    bank.run(range(3))
    names = {one.name for one in bank.path.parent.iterdir()}
    assert names == {"out.jsonl", "out.jsonl.run.db", "out.jsonl.run.db-rxpipe-lock"}
    folder = bank.path.parent / "moved"
    folder.mkdir()
    for name in names:
        (bank.path.parent / name).rename(folder / name)
    monkeypatch.chdir(folder)
    there = FileBank(Path("out.jsonl"))
    assert there.run(range(4)).written == 1
    assert there.ids() == [0, 1, 2, 3]


def commits_fail(monkeypatch: pytest.MonkeyPatch, *, behind: bool) -> list[int]:
    """The first commit behind an append fails; ``behind``: it is made, and only the answer is lost."""
    appended, failed = list[int](), list[int]()
    append = OutputFile.append
    commit: Any = DefaultDialect.do_commit

    def appends(self: OutputFile, offset: int, data: bytes) -> int:
        appended.append(offset)
        return append(self, offset, data)

    def commits(self: DefaultDialect, connection: Any) -> None:
        fails = bool(appended) and not failed
        if behind or not fails:
            commit(self, connection)
        appended.clear()
        if fails:
            failed.append(1)
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise OperationalError("COMMIT", {}, error)

    monkeypatch.setattr(OutputFile, "append", appends)
    monkeypatch.setattr(DefaultDialect, "do_commit", commits)
    return failed


@pytest.mark.parametrize("behind", [False, True])
def test_a_commit_fails_behind_an_append(any_bank: FileBank, monkeypatch: pytest.MonkeyPatch, *, behind: bool) -> None:
    """The batch is committed again, and its lines are there once."""
    any_bank.sink = {"retry": QUICK}
    with monkeypatch.context() as broken:
        failed = commits_fail(broken, behind=behind)
        assert any_bank.run(range(10)).written == 10
    assert failed == [1]
    assert any_bank.ids() == list(range(10))


def test_no_commit_comes_behind_an_append(bank: FileBank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends; the next one has nothing to cut off, and writes each row once."""
    bank.sink = {"retry": Retry(max_attempts=1)}
    with monkeypatch.context() as broken:
        commits_fail(broken, behind=False)
        with pytest.raises(SinkError):
            bank.run(range(10))
    assert bank.known() == (0, False)
    assert bank.path.read_bytes() == b""
    assert bank.run(range(10)).finished
    assert bank.ids() == list(range(10))


def disk_full(monkeypatch: pytest.MonkeyPatch, times: float, calls: list[int]) -> None:
    write: Any = OutputFile._write  # pyright: ignore[reportPrivateUsage] - what it writes is to fail half-way

    def broken(self: OutputFile, file: Any, data: bytes) -> None:
        calls.append(len(data))
        if len(calls) <= times:
            file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, file, data)

    monkeypatch.setattr(OutputFile, "_write", broken)


def test_a_full_disk_is_tried_again(bank: FileBank, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a batch was written by then."""
    bank.sink, calls = {"retry": QUICK}, list[int]()
    disk_full(monkeypatch, 2, calls)
    assert bank.run(range(20)).written == 20
    assert bank.ids() == list(range(20))
    assert len(calls) > 2


def test_a_disk_that_stays_full(bank: FileBank, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with an error; with room again, the next one writes every row once."""
    bank.sink = {"retry": Retry(max_attempts=1)}
    with monkeypatch.context() as broken:
        disk_full(broken, float("inf"), [])
        with pytest.raises(SinkError, match=r"out\.jsonl could not be written for too long: OSError"):
            bank.run(range(5))
    assert bank.run(range(5)).finished
    assert bank.ids() == list(range(5))


def test_the_file_is_deleted_meanwhile(bank: FileBank) -> None:
    """What the stages returned is kept; the next run is refused until somebody says what the file is to be."""
    bank.run(range(3))

    def delete(stage: str, item: Any) -> None:
        if (stage, item) == ("grading", 5):
            bank.path.unlink()

    bank.act = delete
    with pytest.raises(SinkError, match="was deleted or moved"):
        bank.run(range(20))
    written = Counter(states(bank.url).values())["written"]
    bank.act = nothing
    with pytest.raises(StoreError, match="was cut or deleted"):
        bank.run(range(20))
    bank.sink = {"replace": True}
    assert bank.run(range(20)).finished
    assert len(bank.ids()) == 20 - written
    assert set(bank.calls.values()) == {1}
    assert len(bank.calls) == 20 * len(STAGES)


def test_a_killed_process_left_half_a_batch(bank: FileBank) -> None:
    """What is behind the known length is cut off, if a worker had not ended."""
    bank.run(range(3))
    left(bank, is_open=True)
    assert bank.run(range(4)).written == 1
    assert bank.ids() == [0, 1, 2, 3]


def left(bank: FileBank, *, is_open: bool) -> None:
    """Append something, as a worker that was killed, or another program."""
    with bank.path.open("ab") as file:
        file.write(b'{"id":17}\n{"id":18,"val')
    with sqlite3.connect(f"{bank.path}.run.db") as connection:
        connection.execute("UPDATE rxpipe_files SET is_open = ?", (is_open,))
    connection.close()


def test_another_program_has_appended(bank: FileBank) -> None:
    """That is refused, and nothing is cut off; ``replace`` goes on behind it."""
    bank.run(range(3))
    left(bank, is_open=False)
    size = bank.path.stat().st_size
    with pytest.raises(StoreError, match=r"has 23 bytes that this run store has not written.*replace=True"):
        bank.run(range(4))
    assert bank.path.stat().st_size == size
    bank.sink = {"replace": True}
    assert bank.run(range(4)).written == 1
    assert bank.ids() == [0, 1, 2, 3, 17]


def test_the_file_is_shorter(bank: FileBank) -> None:
    """That is refused; ``replace`` goes on with what is left, and ``requeue --rows`` brings the rest."""
    bank.run(range(3))
    os.truncate(bank.path, 0)
    with pytest.raises(StoreError, match=r"out\.jsonl has 0 bytes, and its run store has written .*--rows"):
        bank.run(range(3))
    bank.sink = {"replace": True}
    with capture_logs() as logs:
        assert bank.run(range(3)).finished
    (told,) = [log for log in logs if "are missing" in log["event"]]
    assert (told["place"], told["missing"]) == (str(bank.path), 3)
    requeue(bank)
    bank.run(range(3))
    assert bank.ids() == [0, 1, 2]
    assert set(bank.calls.values()) == {1}


def requeue(bank: FileBank) -> None:
    engine = create_engine(bank.url, poolclass=NullPool)
    with engine.begin() as connection:
        assert requeue_rows(connection, run(connection, None)) == 3


def test_rows_that_are_written_again(bank: FileBank) -> None:
    """They have another line; so have those of a fresh run."""
    bank.run(range(3))
    requeue(bank)
    bank.run(range(3))
    assert bank.ids() == [0, 0, 1, 1, 2, 2]
    bank.store = {"fresh": True}
    bank.run(range(3))
    assert bank.ids() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_file_that_no_store_knows(bank: FileBank) -> None:
    """It is refused before a call is made; an empty one is not."""
    bank.path.write_text('{"id":17}\n')
    with pytest.raises(StoreError, match="has 10 bytes that this run store has not written"):
        bank.run(range(3))
    assert not bank.calls
    bank.path.write_text("")
    assert bank.run(range(3)).written == 3


def test_a_file_of_another_pipeline(bank: FileBank) -> None:
    """It is refused; ``replace`` appends to it, and it belongs to that one from then on."""
    bank.run(range(3))
    with pytest.raises(OtherPipeline, match=r"out\.jsonl has rows of pipeline bank; this is pipeline other"):
        bank.run(range(3), name="other")
    bank.sink = {"replace": True}
    assert bank.run(range(3), name="other").written == 3
    bank.sink = {}
    with pytest.raises(OtherPipeline, match="has rows of pipeline other"):
        bank.run(range(3))


def test_one_process_writes_at_a_time(any_bank: FileBank) -> None:
    """Also where the store would take several workers; the first one is not disturbed."""
    block = Block()
    going = Pipeline(
        Stage("s", block), sink=JsonLinesSink(any_bank.path), store=RunStore(any_bank.url), name="bank"
    ).start([1])
    block.wait_for(1)
    with pytest.raises(StoreError, match="is in use by"):
        any_bank.run(range(3))
    block.may_return.set()
    assert finish(going).written == 1
    assert any_bank.ids() == [1]
    assert not any_bank.calls


def test_dropped_items_and_lines_of_ones_own(path: Path) -> None:
    """``row`` and ``rows`` are asked as for a table."""

    def row(outcome: Outcome[Any]) -> Any:
        return None if outcome.id == 2 else {"n": outcome.id, "v": [outcome.value]}

    sink = JsonLinesSink(path, row=row)
    assert Pipeline(Stage("s", same), sink=sink, store=RunStore(), name="own").run(range(4)).written == 4
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(found, key=lambda one: one["n"]) == [{"n": n, "v": [n]} for n in (0, 1, 3)]


def test_a_line_that_cannot_be_made(path: Path) -> None:
    """Its item is a dead letter, and the others are written."""

    def line(outcome: Outcome[Any]) -> Any:
        if outcome.id == 2:
            raise LookupError(outcome.id)
        return {"id": outcome.id}

    pipeline = Pipeline(Stage("s", same), sink=JsonLinesSink(path, row=line), store=RunStore(), name="bad")
    report = pipeline.run(range(4))
    assert (report.written, report.failed) == (3, 1)
    assert states(f"sqlite:///{path}.run.db")["2"] == "failed"
    assert pipeline.run(range(4)).failed == 0


def test_a_sink_of_another_kind() -> None:
    """A store cannot be beside it."""

    class Other:
        def open(self) -> Any:
            raise NotImplementedError

    with pytest.raises(TypeError, match="has a DatabaseSink, a JsonLinesSink or none"):
        Pipeline(Stage("s", str), sink=Other(), store=RunStore("sqlite:///a.db"))
    with pytest.raises(ConfigError, match="needs a database of its own"):
        Pipeline(Stage("s", str), store=RunStore())
