"""Stores that runs have really filled: made once for all tests, and copied for each."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pipeline_helpers import Block, finish, same, until
from servers import POSTGRES, answering, execute
from sqlalchemy import Connection, and_, create_engine, func, make_url, or_, select
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, Retry, Stage
from rxpipe.store import RunStore
from rxpipe.store.queries.existing_store import opened, snapshot
from rxpipe.store.schema.migrations import migrate
from rxpipe.store.schema.tables import ITEMS

IDS: tuple[int | str, ...] = (1, 2, 3, 4, 5, 6, 7, 8, "x", "回")
FAILED = {3: "answering", 4: "grading", 6: "answering", 8: "database"}

Fill: TypeAlias = Callable[[str], None]
"""Fills the empty database of a URL."""


@dataclass(frozen=True)
class Answer:
    """What is kept as a pickle, with JSON to read beside it."""

    number: int | str
    text: str


class Opaque:
    """What a checkpoint can keep, and a row cannot."""

    __slots__ = ()


def generate(number: int | str) -> dict[str, Any]:
    """The first stage; its results have a float that JSON has not."""
    return {"question": f'what is "{number}"?', "number": number, "weight": float("nan")}


def answer(question: dict[str, Any]) -> Answer:
    """The second stage."""
    if question["number"] in (3, 6):
        raise ValueError(f"no answer to {question['number']}")
    return Answer(question["number"], "42\nor so")


def grade(answered: Answer) -> Any:
    """The third stage."""
    if answered.number == 4:
        raise KeyError("score")
    if answered.number == 8:
        return Opaque()
    return "seven" if answered.number == 7 else 0.5


def bank(url: str, *, fresh: bool = False, answering: Callable[[Any], Any] = answer, **options: Any) -> Pipeline:
    """A pipeline; those with the same ``answering`` go on with the same run."""
    return Pipeline(
        Stage("generation", generate),
        Stage("answering", answering, retry=Retry(max_attempts=2, initial=0.001, max_delay=0.001), version=2),
        Stage("grading", grade),
        sink=DatabaseSink(url, table="bank"),
        store=RunStore(fresh=fresh),
        name="bank",
        **options,
    )


def fill_bank(url: str) -> None:
    """Run 1: 3 and 6 fail in answering, twice each; 4 in grading; the row of 8 is refused; the others are written."""
    bank(url).run(IDS)


def fill_halted(url: str) -> None:
    """Run 1: 1 is written, 2 and 3 were stopped in answering."""
    with live(url, abort=True):
        pass


def fill_three(url: str) -> None:
    """Three runs, the third of another name: two items done, one item done, one item that was stopped."""
    bank(url).run([1, 2])
    bank(url, fresh=True).run([1])
    with live(url, [1], held=[1], table="other", abort=True):
        pass


def fill_nothing(url: str) -> None:
    """A store without runs."""
    with connected(url) as connection:
        migrate(connection)
        connection.commit()


@contextmanager
def live(
    url: str,
    ids: Sequence[int] = (1, 2, 3),
    *,
    held: Sequence[int] = (2, 3),
    table: str = "bank",
    abort: bool = False,
    first: Callable[[Any], Any] = same,
) -> Generator[None]:
    """A run that goes on while this is entered, with some items held in the second stage, and the others ended."""
    block = Block(held)
    stages = Stage("generation", first), Stage("answering", block)
    run = Pipeline(*stages, sink=DatabaseSink(url, table=table), store=RunStore(), name=table).start(ids)
    try:
        block.wait_for(len(held))
        until(lambda: _settled(url, run.number, held) == len(ids))
        yield
    finally:
        if abort:
            run.abort()
        block.may_return.set()
        finish(run)


def _settled(url: str, run_id: int | None, held: Sequence[int]) -> int:
    """How many items have ended, or are held and have their first checkpoint."""
    is_held = and_(ITEMS.c.item_key.in_([str(one) for one in held]), ITEMS.c.stage == 1)
    has_ended = ITEMS.c.state.in_(("written", "failed"))
    query = select(func.count()).where(ITEMS.c.run_id == run_id, or_(has_ended, is_held))
    with connected(url) as connection:
        return connection.execute(query).scalar_one()


@contextmanager
def looking(url: str) -> Generator[Connection]:
    """A look into a store."""
    with opened(url) as engine, snapshot(engine) as connection:
        yield connection


@contextmanager
def connected(url: str) -> Generator[Connection]:
    """A plain connection."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        yield connection


class Stores:
    """Makes databases: SQLite files, and databases of a PostgreSQL server."""

    def __init__(self, folder: Path, made: ExitStack) -> None:
        self._folder = folder
        self._made = made
        self._filled: dict[tuple[str, Fill], str] = {}
        self._unchanged: dict[str, list[str]] = {}  # copies of a template of PostgreSQL

    @contextmanager
    def copy(self, kind: str, fill: Fill, folder: Path) -> Generator[str]:
        """A database of the test's own, filled so."""
        if (kind, fill) not in self._filled:
            empty = self._sqlite(fill.__name__) if kind == "sqlite" else self._made.enter_context(_database())
            fill(empty)
            self._filled[kind, fill] = empty
        template = self._filled[kind, fill]
        if kind == "sqlite":
            shutil.copy(str(make_url(template).database), folder / "bank.db")
            yield f"sqlite:///{folder / 'bank.db'}"
        else:
            yield from self._copy(template)

    def _copy(self, template: str) -> Generator[str]:
        """A copy; one that tests have left as it was is used again, as to make one takes long."""
        unchanged = self._unchanged.setdefault(template, [])
        with ExitStack() as stack:
            url = unchanged.pop() if unchanged else stack.enter_context(_database(str(make_url(template).database)))
            yield url
            if _contents(url) == _contents(template):
                unchanged.append(url)
                self._made.push(stack.pop_all())

    def _sqlite(self, name: str) -> str:
        return f"sqlite:///{self._folder / name}.db"


def _contents(url: str) -> list[Any]:
    """All that a database of PostgreSQL holds; sequences are tables of one row."""
    place = "quote_ident(nspname) || '.' || quote_ident(relname)"
    rows = f"query_to_xml('SELECT * FROM ' || {place}, true, true, '')::text"
    tables = "pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
    ours = "relkind IN ('r', 'S') AND nspname !~ '^(pg_|information_schema$)'"
    with connected(url) as connection:
        return list(connection.exec_driver_sql(f"SELECT {place}, {rows} FROM {tables} WHERE {ours} ORDER BY 1"))


@contextmanager
def _database(template: str = "template1") -> Generator[str]:
    server = make_url(answering(POSTGRES))
    name = f"rxpipe_{uuid.uuid4().hex}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")
