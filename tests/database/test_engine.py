from __future__ import annotations

import logging
import os
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Column, ForeignKey, Integer, MetaData, Table, create_engine, make_url, text
from sqlalchemy.pool import StaticPool

from rxpipe.database.engine import database_option, open_engine, shown
from rxpipe.database.writer import Writer
from rxpipe.errors import SinkError

from .sink_helpers import outcome


def opening_fails(database: Any) -> str:
    """The text of the one error that opening raises."""
    with pytest.raises(SinkError) as caught:
        Writer(database).open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("database", "reason"),
    [
        ("questions.db", "sqlite:///questions.db"),
        ("", "is not a database URL"),
        ("postgresql://u:secret@host:port/db", "is not a database URL"),
        ("nosuch://host/db", "there is no dialect nosuch"),
        ("sqlite+aiosqlite:///x.db", "use sqlite://"),
        ("postgresql+asyncpg://u:secret@host/db", "use postgresql+psycopg://"),
        ("mysql+aiomysql://u:secret@host/db", "use mysql+pymysql://"),
        ("postgresql+psycopg_async://u:secret@host/db", "use postgresql+psycopg://"),
        ("oracle+oracledb://u:secret@host/db", "install oracledb"),
        ("sqlite:///x.db?timeout=soon", "soon"),
        (None, "a URL or an Engine, not NoneType"),
        (7, "a URL or an Engine, not int"),
    ],
)
def test_a_database_that_cannot_be_is_one_clear_error(database: Any, reason: str) -> None:
    """It says what is wrong and what would do, and shows no password."""
    message = opening_fails(database)
    assert reason in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("url", "module", "needed"),
    [
        ("postgresql://u@h/d", "psycopg", 'it needs the extra postgres: pip install "psycopg[binary]>='),
        ("mysql://u@h/d", "pymysql", 'it needs the extra mysql: pip install "PyMySQL>='),
    ],
)
def test_a_missing_driver_says_what_to_install(
    url: str, module: str, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the extra's name, and the packages that it consists of."""
    monkeypatch.setitem(sys.modules, module, None)
    assert needed in opening_fails(url)


def test_an_async_engine_is_refused() -> None:
    """SQLAlchemy's AsyncEngine cannot be made without greenlet, so something like it."""

    class AsyncEngine:
        sync_engine = None

    assert "a sync Engine, not AsyncEngine" in opening_fails(AsyncEngine())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:secret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d?password=secret&x=1", "postgresql://u@h/d?password=***&x=1"),
        ("postgresql://u:secret@h:port/d", "postgresql://***"),
        ("postgresql://u:p@secret@h/d", "postgresql://***"),
        ("u:secret@h", "u:***@h"),
        ("u:se:cret@h", "u:***@h"),
        (make_url("mysql://u:secret@h/d"), "mysql://u:***@h/d"),
    ],
)
def test_no_password_is_shown(url: Any, expected: str) -> None:
    """Wherever it stands, and whether or not the URL can be read."""
    assert shown(url) == expected


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    """SQLite itself would say that it is unable to open the file."""
    assert f"{tmp_path} is a directory" in opening_fails(f"sqlite:///{tmp_path}")


def test_a_missing_folder_is_named_and_not_created(tmp_path: Path) -> None:
    """A folder that is misspelt must not appear."""
    folder = tmp_path / "nosuch"
    assert f"there is no directory {folder}" in opening_fails(f"sqlite:///{folder / 'x.db'}")
    assert not folder.exists()


def test_a_path_that_cannot_be_written_is_an_error() -> None:
    """Nor does root write files there."""
    assert "unable to open database file" in opening_fails("sqlite:////proc/x.db")


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    """And stays as it is."""
    file = tmp_path / "notes.txt"
    file.write_text("my notes, longer than the header of a database file\n" * 20)
    assert "file is not a database" in opening_fails(f"sqlite:///{file}")
    assert file.read_text().startswith("my notes")


@pytest.mark.parametrize(
    "url", ["postgresql://u:secret@127.0.0.1:1/d", "mysql://u:secret@127.0.0.1:1/d?charset=utf8mb4"]
)
def test_a_server_that_is_not_there_is_an_error(url: str) -> None:
    """With the URL and the driver's reason."""
    message = opening_fails(url)
    assert ":***@127.0.0.1:1/d" in message
    assert "refused" in message
    assert "secret" not in message


def test_a_database_that_does_not_exist_is_an_error(postgres: str) -> None:
    """The server's own words say so."""
    assert "does not exist" in opening_fails(make_url(postgres).set(database="rxpipe_nosuch"))


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:m?mode=memory&uri=true"])
def test_a_database_in_memory_is_one_for_all_threads(url: str) -> None:
    """The thread that writes and the one that reads see the same rows."""
    with Writer(url) as writer:
        thread = threading.Thread(target=writer.write, args=([outcome(1)],))
        thread.start()
        thread.join()
        with writer.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM results")).scalar() == 1


def test_sqlite_files_are_durable_and_readable_while_written(sqlite: str) -> None:
    """WAL, synced at every commit, and five seconds of patience."""
    with Writer(sqlite) as writer, writer.engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "busy_timeout")
        assert [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas] == ["wal", 2, 5000]


def test_options_in_the_url_win(sqlite: str) -> None:
    """A user who says how long to wait is heeded."""
    with Writer(f"{sqlite}?timeout=0.5") as writer, writer.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 500


def test_an_engine_of_the_users_is_left_open_and_as_it_is(tmp_path: Path) -> None:
    """It may be in use elsewhere: neither pragmas nor dispose."""
    engine = create_engine(
        f"sqlite:///{tmp_path / 'x.db'}", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    writer = Writer(engine)
    writer.open()
    assert writer.write([outcome(1)]) == [None]
    writer.close()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
        assert connection.exec_driver_sql("SELECT count(*) FROM results").scalar() == 1
    engine.dispose()


def test_an_engine_with_a_database_for_each_thread_is_refused() -> None:
    """What the sink's thread writes there, nobody could read."""
    engine = create_engine("sqlite://")
    assert "poolclass=StaticPool" in opening_fails(engine)
    engine.dispose()


def test_an_engine_in_autocommit_mode_is_refused(postgres: str) -> None:
    """Without transactions a batch could not be written in one."""
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    assert "autocommit" in opening_fails(engine)
    engine.dispose()


def test_an_engine_of_mysql_in_autocommit_mode_is_refused(mysql: str) -> None:
    """Its driver has a method for that, not an attribute."""
    engine = create_engine(mysql, isolation_level="AUTOCOMMIT")
    assert "autocommit" in opening_fails(engine)
    engine.dispose()


def test_making_a_writer_touches_nothing(tmp_path: Path) -> None:
    """Neither a file nor a server; the bad URL is found by ``open``."""
    Writer(f"sqlite:///{tmp_path / 'x.db'}")
    Writer("nosuch://x")
    assert os.listdir(tmp_path) == []


def test_a_failed_opening_leaves_no_file(tmp_path: Path) -> None:
    """A table that cannot be said in SQL is found before the file is made."""
    table = Table("t", MetaData(), Column("id", Integer, ForeignKey("nosuch.id"), primary_key=True))
    with pytest.raises(SinkError, match="nosuch"):
        Writer(f"sqlite:///{tmp_path / 'x.db'}", table=table).open()
    assert os.listdir(tmp_path) == []


def test_open_and_close_may_be_repeated(tmp_path: Path) -> None:
    """Each does nothing the second time, and a closed writer can be opened again."""
    writer = Writer(f"sqlite:///{tmp_path / 'x.db'}")
    writer.close()
    for _ in range(2):
        writer.open()
        writer.open()
        assert writer.write([outcome(1)]) == [None]
        writer.close()
        writer.close()
    with pytest.raises(SinkError, match="not open"):
        writer.write([outcome(1)])
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        assert connection.execute("SELECT count(*) FROM results").fetchone() == (1,)


@pytest.mark.parametrize(("given", "taken"), [("none", None), ("None", None), ("0", 0), ("7", 7)])
def test_prepared_statements_in_the_url(postgres: str, given: str, taken: int | None) -> None:
    """As psycopg takes them, which wants a number and not its text."""
    engine = open_engine(f"{postgres}?prepare_threshold={given}")
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        assert driver.prepare_threshold == taken
    engine.dispose()


def test_a_wrong_number_of_prepared_statements() -> None:
    """One clear error."""
    with pytest.raises(SinkError, match="prepare_threshold is a whole number or none, not often"):
        open_engine("postgresql://u@h/d?prepare_threshold=often")


@pytest.mark.parametrize(
    "name", ["bank.db", "my folder/bank ü (1).db", "题目.db", "100%.db", "a%41.db", "what?.db", "a#b@c:d"]
)
def test_a_path_is_shown_as_it_is_written(name: str) -> None:
    """And what is shown is a URL of that path, to be copied."""
    url = URL.create("sqlite", database=name)
    assert make_url(shown(url)).database == name
    if not set("?%") & set(name):
        assert shown(url) == f"sqlite:///{name}"


def test_a_path_is_shown_before_its_options() -> None:
    """Those stay as they are in a URL, without what is secret."""
    assert shown("sqlite:///ü.db?mode=ro&password=x") == "sqlite:///ü.db?mode=ro&password=***"


def test_what_psycopg_warns_of_is_not_on_the_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless logging is set up: then it comes there."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    logging.getLogger("psycopg").warning("error ignored terminating a pipeline")
    assert capsys.readouterr().err == ""
    root.addHandler(logging.StreamHandler(sys.stderr))
    logging.getLogger("psycopg").warning("error ignored terminating a pipeline")
    assert "terminating" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "option"),
    [
        ("sqlite:///my bank.db", "'sqlite:////here/my bank.db'"),
        ("sqlite:////there/bank.db", "sqlite:////there/bank.db"),
        (
            "postgresql://me:s3cret@host:5433/bank?sslmode=require",
            "'postgresql+psycopg://me@host:5433/bank?sslmode=require'",
        ),
        ("postgresql://host/bank?user=me&password=s3cret", "'postgresql+psycopg://host/bank?user=me'"),
    ],
)
def test_option_for_commands(url: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint's option finds the database from any folder, is one word of a shell, and holds no password."""
    monkeypatch.setattr("os.getcwd", lambda: "/here")
    assert database_option(url) == f"--database {option}"
