"""IDs from a query: what it gives, what it leaves alone, and what is refused before anything runs."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from servers import MYSQL, POSTGRES, answering

from rxpipe import Record
from rxpipe.config import Config

from .source_helpers import Configured, listed, read, refusal

FromSql = Callable[..., Config]


@pytest.fixture
def from_sql(configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FromSql:
    """A config whose source is a query on a database made by this script."""
    monkeypatch.chdir(tmp_path)

    def making(script: str, query: str, by: str | None = None) -> Config:
        with contextlib.closing(sqlite3.connect("todo.db")) as database:
            database.executescript(script)
        more = f", id: {by}" if by else ""
        return configured(f'{{sql: "{query}", url: "sqlite:///todo.db"{more}}}')

    return making


TODO = "create table todo (id, kind); insert into todo values (3, 'a'), (1, 'a'), (2, '50%:x');"


def test_the_first_column_of_a_query(from_sql: FromSql) -> None:
    """Further columns are ignored, and the query's own order stays."""
    assert listed(from_sql(TODO, "select id, kind from todo")) == [3, 1, 2]


def test_rows_of_a_query_are_records(from_sql: FromSql) -> None:
    """With an ID, each row is one: a plain dict."""
    config = from_sql(TODO, "select kind, id from todo where kind = 'a'", "id")

    assert listed(config) == [Record(3, {"kind": "a", "id": 3}), Record(1, {"kind": "a", "id": 1})]
    assert len(listed(config, 1)) == 1


def test_rows_of_a_query_by_their_content(from_sql: FromSql) -> None:
    """The ID is made of all columns."""
    assert len({one.id for one in listed(from_sql(TODO, "select kind, id from todo", "hash"))}) == 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select kind from todo", "no column is called 'id'; did you mean 'kind'? allowed: kind"),
        ("select id, kind as id from todo", "columns of the same name: id; allowed: each once (select ... as ...)"),
        ("select kind as id from todo", "row 2: the ID 'a' was there before; allowed: each once (select distinct)"),
        ("select null as id", "row 1: the ID is nothing (null), of type NoneType; allowed: a whole number or text"),
    ],
)
def test_rows_of_a_query_without_an_id_of_their_own(from_sql: FromSql, query: str, message: str) -> None:
    """They are refused before anything runs."""
    assert refusal(from_sql(TODO, query, "id")).endswith(message)


def test_ids_of_a_query_may_be_text(from_sql: FromSql) -> None:
    """They have the type that the column has."""
    assert listed(from_sql("create table t (id); insert into t values ('a'), ('7');", "select id from t")) == ["a", "7"]


def test_a_query_is_run_as_it_stands(from_sql: FromSql) -> None:
    """Neither a percent sign nor a colon means anything."""
    assert listed(from_sql(TODO, "select id from todo where kind like '50%:x'")) == [2]


def test_the_first_of_a_query(from_sql: FromSql) -> None:
    """A count takes that many rows, and looks at no other."""
    script = "create table t (id); insert into t values (1), (2), (null);"

    assert listed(from_sql(script, "select id from t"), 2) == [1, 2]


def test_a_query_on_the_results_database(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a URL of its own a query is run where the results go."""
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(sqlite3.connect("q.db")) as database:
        database.executescript(TODO)

    assert listed(configured("{sql: 'select max(id) from todo'}", "database: {url: 'sqlite:///q.db'}")) == [3]


def test_ids_of_a_query_lock_nothing(from_sql: FromSql) -> None:
    """While the IDs are being taken another connection can write and even drop the table."""
    ids = iter(read(from_sql(TODO, "select id from todo")))

    first = next(ids)
    with contextlib.closing(sqlite3.connect("todo.db", timeout=0)) as database:
        database.executescript("drop table todo;")

    assert [first, *ids] == [3, 1, 2]


def test_reading_changes_no_database(from_sql: FromSql, tmp_path: Path) -> None:
    """The file is byte for byte what it was: not even its journal mode changes."""
    config = from_sql(TODO, "select id from todo")
    before = (tmp_path / "todo.db").read_bytes()

    listed(config)

    assert (tmp_path / "todo.db").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline.yaml", "todo.db"]


AT = "pipeline.yaml: source.sql: sqlite:///todo.db, given the text "


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select id from missing", "OperationalError: no such table: missing"),
        ("selct id", 'OperationalError: near "selct": syntax error'),
        ("select 1; select 2", "You can only execute one statement at a time"),
        ("drop table todo", "OperationalError: attempt to write a readonly database"),
        ("delete from todo", "OperationalError: attempt to write a readonly database"),
        ("pragma query_only = on", "it returns no rows; allowed: a query"),
        ("select null", "row 1: the ID is nothing (null), of type NoneType; allowed: a whole number or text"),
        ("select 1.5", "row 1: the ID is 1.5, of type float; allowed: a whole number or text"),
        (
            "select x'00'",
            r"row 1: the ID is binary data b'\x00', of type bytes; allowed: a whole number or text",
        ),
        ("select ' '", "row 1: the ID is the text ' ', of type str; allowed: a whole number or text"),
        (
            "select 1 union all select '1'",
            "row 2: the ID '1' was there before; allowed: each once (select distinct)",
        ),
        (
            "select 1 union all select 2 union all select 1",
            "row 3: the ID 1 was there before; allowed: each once (select distinct)",
        ),
    ],
)
def test_a_query_that_gives_no_ids(from_sql: FromSql, query: str, message: str) -> None:
    """The file, the key, the database, the query and its fault are told."""
    told = refusal(from_sql(TODO, query))

    assert told.startswith(f"{AT}{query!r}: ")
    assert message in told


def test_a_missing_database_is_not_made(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would make an empty one, and then miss the table."""
    monkeypatch.chdir(tmp_path)

    message = refusal(configured("{sql: select 1, url: 'sqlite:///missing.db'}"))

    assert message == "pipeline.yaml: source.url: sqlite:///missing.db: no such file: missing.db"
    assert not (tmp_path / "missing.db").exists()


def test_a_file_that_is_no_database(configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite says of it is passed on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "todo.db").write_bytes(b"no database, " * 100)

    message = refusal(configured("{sql: select id from todo, url: 'sqlite:///todo.db'}"))

    assert message.endswith("DatabaseError: file is not a database")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "postgresql://u:hunter2@127.0.0.1:1/d",
            "source.url: cannot open postgresql+psycopg://u:***@127.0.0.1:1/d: ",
        ),
        ("nosuch://u:hunter2@h/d", "source.url: nosuch://u:***@h/d: there is no dialect nosuch"),
        ("mysql://u:hunter2@h:port/d", "source.url: mysql://***"),
    ],
)
def test_an_unreachable_database_is_told_without_its_password(configured: Configured, url: str, message: str) -> None:
    """The URL is named, the password is not."""
    told = refusal(configured(f"{{sql: select 1, url: '{url}'}}"))

    assert told.startswith(f"pipeline.yaml: {message}")
    assert "hunter2" not in told


def test_a_driver_that_quotes_the_password(configured: Configured) -> None:
    """It is taken out of what a driver says, too."""
    config = configured(
        "{sql: select 1, url: 'postgresql://u@127.0.0.1:1/d?sslmode=hunter2&password=hunter2'}",
    )

    told = refusal(config)

    assert told.endswith('invalid sslmode value: "***"')


@pytest.fixture(params=[POSTGRES, MYSQL])
def server(request: pytest.FixtureRequest) -> str:
    """The URL of each database server that answers."""
    return answering(request.param)


MANY = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 900) select i from n"


@pytest.mark.parametrize(("count", "ids"), [(None, range(1, 901)), (5, range(1, 6))])
def test_a_servers_rows_are_streamed(configured: Configured, server: str, count: int | None, ids: range) -> None:
    """All of them or the first arrive in order, and no cursor is left open: its warning would be an error."""
    assert listed(configured(f"{{sql: '{MANY}', url: '{server}'}}"), count) == list(ids)


def test_a_server_runs_a_query_as_it_stands(configured: Configured, server: str) -> None:
    """Drivers that use percent signs for parameters see none."""
    query = "select 'a%s:b' where 'x%' like 'x%'"

    assert listed(configured(f'{{sql: "{query}", url: "{server}"}}')) == ["a%s:b"]


def test_a_server_is_only_read(configured: Configured, server: str) -> None:
    """MySQL could not roll this back."""
    making = configured(f"{{sql: create table rxpipe_ids_made (id int), url: '{server}'}}")
    reading = configured(f"{{sql: select id from rxpipe_ids_made, url: '{server}'}}")

    assert "given the text 'create table" in refusal(making)
    assert "rxpipe_ids_made" in refusal(reading)


def test_a_servers_row_of_a_wrong_type(configured: Configured, server: str) -> None:
    """A number with a fraction is no ID."""
    message = refusal(configured(f"{{sql: select 1.5, url: '{server}'}}"))

    assert message.endswith("row 1: the ID is Decimal('1.5'), of type Decimal; allowed: a whole number or text")
