"""Backups that are taken while a run is under way, restored, and gone on with."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from servers import execute, own_database
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, RunStore

from .bank import STAGES, Bank

ITEMS = 300
LEASE = 0.4  # seconds: for so long nobody takes what the dead worker of a backup had


class Kept(NamedTuple):
    """What a store holds: the checkpoints, by key and stage, and the rows' keys."""

    checkpoints: set[tuple[str, int]]
    rows: set[str]


def kept(url: str) -> Kept:
    """What is committed."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        checkpoints = connection.execute(text("SELECT item_key, stage FROM rxpipe_checkpoints"))
        return Kept(
            {(row.item_key, row.stage) for row in checkpoints},
            set(connection.execute(text("SELECT id FROM results")).scalars()),
        )


def backed_up(url: str, back_up: Callable[[], object]) -> Kept:
    """Take a backup in the middle of a run; returns what was committed just before the backup."""
    halfway, go_on, committed = threading.Event(), threading.Event(), list[Kept]()

    def watch() -> None:
        assert halfway.wait(30)
        committed.append(kept(url))
        back_up()
        go_on.set()

    def act(stage: str, item_id: Any) -> None:
        if stage == "answering" and item_id == ITEMS // 2:
            halfway.set()
        if item_id == ITEMS - 1:  # the run is not over before the backup is there
            assert go_on.wait(30)

    bank = Bank(url, act)
    watcher = threading.Thread(target=watch)
    watcher.start()
    report = bank.pipeline(
        sink=DatabaseSink(url, max_seconds=0.002), store=RunStore(lease=LEASE, heartbeat=LEASE / 4)
    ).run(range(ITEMS))
    watcher.join()
    assert report.written == ITEMS
    return committed[0]


def check_restored(url: str, before: Kept) -> None:
    """Go on with a restored store: nothing of before is lost or called again, and all else is done."""
    restored = kept(url)
    assert before.checkpoints <= restored.checkpoints
    assert before.rows <= restored.rows
    assert len(restored.rows) < ITEMS, "the backup was taken too late to tell anything"
    bank = Bank(url)
    bank.pipeline(store=RunStore(lease=LEASE, heartbeat=LEASE / 4)).run(range(ITEMS))
    assert kept(url).rows == {str(item) for item in range(ITEMS)}
    called = {(str(key), STAGES.index(stage)) for stage, key in bank.calls}
    assert not called & restored.checkpoints
    assert set(bank.calls.values()) == {1}


def vacuum_into(source: Path, target: Path) -> None:
    """From Python, or any other client."""
    connection = sqlite3.connect(source)
    connection.execute("VACUUM INTO ?", (str(target),))
    connection.close()


def online_backup(source: Path, target: Path) -> None:
    """Python's own."""
    with sqlite3.connect(source) as connection, sqlite3.connect(target) as copy:
        connection.backup(copy)
    connection.close()
    copy.close()


def command_line(source: Path, target: Path) -> None:
    """SQLite's program."""
    program = shutil.which("sqlite3")
    if program is None:
        pytest.skip("there is no sqlite3 program")
    subprocess.run([program, "-cmd", ".timeout 10000", source, f".backup '{target}'"], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("back_up", [vacuum_into, online_backup, command_line])
def test_sqlite(tmp_path: Path, back_up: Callable[[Path, Path], None]) -> None:
    """Each of SQLite's ways gives one moment of the store."""
    if back_up is command_line and shutil.which("sqlite3") is None:
        pytest.skip("there is no sqlite3 program")
    source, target = tmp_path / "bank.db", tmp_path / "backup.db"
    before = backed_up(f"sqlite:///{source}", lambda: back_up(source, target))
    check_restored(f"sqlite:///{target}", before)


@pytest.fixture
def other_database(postgres_database: URL) -> Iterator[URL]:
    """An empty database to restore into."""
    with own_database(postgres_database.render_as_string(hide_password=False)) as url:
        yield url


@pytest.mark.slow
def test_postgres(postgres_url: str, other_database: URL, tmp_path: Path) -> None:
    """pg_dump gives one moment of the store, and pg_restore the same store elsewhere."""
    if shutil.which("pg_dump") is None or shutil.which("pg_restore") is None:
        pytest.skip("there is no pg_dump")
    url = make_url(postgres_url)
    schema = str(url.query["options"]).partition("=")[2]
    dump = tmp_path / "bank.dump"

    def back_up() -> None:
        place = ["--schema", schema, "--dbname", plain(url)]
        subprocess.run(["pg_dump", "--format=custom", "--file", dump, *place], check=True, env=environment(url))

    before = backed_up(postgres_url, back_up)
    command = ["pg_restore", "--exit-on-error", "--dbname", plain(other_database), str(dump)]
    subprocess.run(command, check=True, env=environment(url))
    execute(other_database, f"ALTER DATABASE {other_database.database} SET search_path = {schema}")
    check_restored(other_database.render_as_string(hide_password=False), before)


def plain(url: URL) -> str:
    """A URL as libpq takes it."""
    found = url.set(drivername="postgresql", password=None).difference_update_query(["options"])
    return found.render_as_string(hide_password=False)


def environment(url: URL) -> dict[str, str]:
    """With the password, if there is one."""
    return {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
