"""The SQLite file and its lock: what happens when somebody deletes, moves or opens them during a run."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline_helpers import Block, finish, same, until
from sqlalchemy import insert, make_url, update

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.errors import SinkError, StoreError
from rxpipe.pipeline.run.run import Run
from rxpipe.store.items.process_identity import this_process
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.tables import ITEMS, WORKERS, db_now

from .bank import Bank, rows, states


def path_of(url: str) -> Path:
    return Path(str(make_url(url).database))


def delete(path: Path) -> None:
    """Delete the file, and those beside it."""
    for one in path.parent.glob(f"{path.name}*"):
        if "lock" not in one.name:
            one.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def replace(path: Path) -> None:
    """Put another database in its place."""
    delete(path)
    sqlite3.connect(path).execute("PRAGMA user_version = 1").connection.close()


@pytest.mark.parametrize("hurt", [delete, move, replace])
@pytest.mark.parametrize("durable", [True, False])
def test_the_file_is_gone(sqlite_url: str, hurt: Callable[[Path], None], durable: bool) -> None:
    """The run fails with the next commit, and says why; no other file is made."""
    path = path_of(sqlite_url)

    def work(item: int) -> int:
        if item == 3:
            hurt(path)
        return item

    pipeline = Pipeline(
        Stage("a", work, concurrency=1), sink=DatabaseSink(sqlite_url), store=RunStore() if durable else None
    )
    with pytest.raises(SinkError, match=r"store\.db was deleted or moved while it was in use"):
        pipeline.run(range(50))
    assert hurt is replace or not path.exists()


def test_heartbeats_notice_it(sqlite_url: str) -> None:
    """While calls take long, and nothing is committed."""
    block = Block()
    pipeline = Pipeline(Stage("a", block), sink=DatabaseSink(sqlite_url), store=RunStore(lease=0.2, heartbeat=0.02))
    run = pipeline.start([1])
    block.wait_for(1)
    delete(path_of(sqlite_url))
    with pytest.raises(SinkError, match="deleted or moved"):
        finish(run)
    block.may_return.set()


def test_the_end_notices_it(sqlite_url: str) -> None:
    """Where the file goes while the last call runs."""
    block = Block([2])
    run = Pipeline(Stage("a", block), sink=DatabaseSink(sqlite_url), store=RunStore()).start([1, 2])
    until(lambda: run.written == 1)
    delete(path_of(sqlite_url))
    block.may_return.set()
    with pytest.raises(SinkError, match="deleted or moved"):
        finish(run)


@pytest.fixture
def running(sqlite_url: str) -> Iterator[Run]:
    """A run that has the file."""
    block = Block()
    run = Pipeline(Stage("a", block), sink=DatabaseSink(sqlite_url), store=RunStore()).start([1, 2, 3])
    block.wait_for(1)
    yield run
    block.may_return.set()
    assert finish(run).written == 3


def unlock_by_deleting(lock: Path) -> None:
    lock.unlink()


def unlock_by_reading(lock: Path) -> None:
    """As POSIX has it: closing a file ends all locks that the process has on it."""
    lock.read_bytes()


@pytest.mark.parametrize("unlock", [unlock_by_deleting, unlock_by_reading])
def test_another_run_of_the_process_without_the_lock(
    sqlite_url: str, running: Run, unlock: Callable[[Path], None]
) -> None:
    """Is refused as before."""
    unlock(path_of(sqlite_url).with_name("store.db-rxpipe-lock"))
    with pytest.raises(StoreError, match=f"in use by process {os.getpid()} "):
        Bank(sqlite_url).pipeline().run([1])


ANOTHER = """
import sys
from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.errors import StoreError

try:
    Pipeline(Stage("a", str), sink=DatabaseSink(sys.argv[1]), store=RunStore(fresh=True)).run([9])
except StoreError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("unlock", [unlock_by_deleting, unlock_by_reading])
def test_another_process_without_the_lock(sqlite_url: str, running: Run, unlock: Callable[[Path], None]) -> None:
    """Sees in the store that this one is at work, and takes nothing from it."""
    unlock(path_of(sqlite_url).with_name("store.db-rxpipe-lock"))
    told = subprocess.run([sys.executable, "-c", ANOTHER, sqlite_url], capture_output=True, text=True, check=True)
    assert f"in use by process {os.getpid()} " in told.stdout
    assert states(sqlite_url) == {"1": "running", "2": "running", "3": "running"}


@pytest.mark.parametrize("left", ["ended", "silent", "elsewhere"])
def test_what_does_not_keep_a_run_from_starting(sqlite_url: str, left: str) -> None:
    """A worker whose process has ended, or was not marked for its lease, or is of another machine or container."""
    bank = Bank(sqlite_url)
    bank.pipeline().run([1])
    here = this_process()
    if here is None:
        pytest.skip("processes cannot be told apart here")
    place, pid, started = here.rsplit(" ", 2)
    process = {
        "ended": f"{place} 4194304 1",
        "silent": f"{place} {os.getppid()} {started_of(os.getppid())}",
        "elsewhere": f"another-boot 1 {pid} {started}",
    }[left]
    database = Database(sqlite_url)
    with database.transaction() as connection:
        at = db_now() - (61 if left == "silent" else 0)
        row = {"id": "x", "run_id": 1, "host": "h", "pid": 1, "process": process, "lease": 60.0}
        connection.execute(insert(WORKERS).values(**row, started_at=at, heartbeat_at=at))
        connection.execute(update(ITEMS).values(state="running", owner="x"))
    database.close()
    assert bank.pipeline().run([1]).finished


def started_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_reads_a_new_file(sqlite_url: str) -> None:
    """It holds inputs, outputs and pickles; so do the files beside it."""
    block = Block()
    before = os.umask(0o002)
    try:
        run = Pipeline(Stage("a", block), sink=DatabaseSink(sqlite_url), store=RunStore()).start([1])
        block.wait_for(1)
        path = path_of(sqlite_url)
        found = {one.name: mode(one) for one in path.parent.glob("store.db*")}
        block.may_return.set()
        finish(run)
    finally:
        os.umask(before)
    assert set(found.values()) == {0o600}
    assert set(found) == {"store.db", "store.db-wal", "store.db-shm", "store.db-rxpipe-lock"}


def test_a_file_that_is_there_keeps_its_permissions(sqlite_url: str, tmp_path: Path) -> None:
    """Whoever shares it has said so."""
    path = path_of(sqlite_url)
    Pipeline(Stage("a", same), sink=DatabaseSink(sqlite_url)).run([1])
    path.chmod(0o640)
    Pipeline(Stage("a", same), sink=DatabaseSink(sqlite_url), store=RunStore()).run([2])
    assert mode(path) == 0o640
    assert mode(path.with_name("store.db-rxpipe-lock")) == 0o640
    shutil.copy(path, tmp_path / "copy.db")
    assert len(rows(f"sqlite:///{tmp_path / 'copy.db'}", ITEMS)) == 1
