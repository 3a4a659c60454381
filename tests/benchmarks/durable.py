"""Durable items a second beside DBOS and bulk inserts: ``python -m tests.benchmarks.durable`` from a checkout.

Items go through three stages that do nothing, ten calls at once, and each leaves three checkpoints and one row: in
SQLite, in the temporary directory, and on a PostgreSQL server (``RXPIPE_TEST_POSTGRES``). Each measurement has a fresh
process and a new database, and what it left there is looked at afterwards.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Literal

from sqlalchemy import Engine, Executable, create_engine, event, insert, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.database.table import default_table
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS, METADATA

from .child import MISSING
from .machine import machine
from .measure import CHECKOUT, PATIENCE, Failed, Missing, Result, Sample, Task, ratios
from .tables import markdown
from .workload import CONCURRENCY, Job

POSTGRES = os.environ.get("RXPIPE_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/test")
RESULTS = default_table("results")
STAGES = 3
TRANSACTION = 500
WARM_UP = 20  # items that go ahead, for what happens only once
LEAST_TIMES_DBOS = 15.0

Value = dict[str, int]
Run = Callable[[range], object]
Scheduler = Literal["threads", "asyncio"]


def begin(item: int) -> Value:
    return {"n": item}


def go_on(value: Value) -> Value:
    return value


async def begin_async(item: int) -> Value:
    return {"n": item}


async def go_on_async(value: Value) -> Value:
    return value


@contextmanager
def rxpipe(url: str, calls: Sequence[Callable[[Any], Any]], scheduler: Scheduler) -> Generator[Run]:
    """A pipeline with a store, which is opened and closed as part of the run; so is an event loop."""
    stages = [Stage(name, call, concurrency=CONCURRENCY) for name, call in zip("abc", calls, strict=True)]
    sink = DatabaseSink(url, table=RESULTS.name)
    yield Pipeline(*stages, sink=sink, store=RunStore(), scheduler=scheduler).run


@contextmanager
def dbos_threads(url: str) -> Generator[Run]:
    """The fastest way that was found with DBOS: the last step writes the row, too, and again should it be repeated.

    Tried with dbos 3.4.0, items a second in PostgreSQL, in SQLite (medians of 3 interleaved rounds of 400 items):

    - workflows called on ten threads, as here, each with its item's ID, so that none is done twice: 146, 148
    - with the row written in the workflow, after the steps: 152, 148; in a fourth step: 117, 115; in a transaction of
      an ``SQLAlchemyDatasource``, which alone writes it exactly once, as rxpipe does: 91, 85
    - ``start_workflow`` on ten threads: 140, 138; on one thread, with an executor of ten: 162, 131
    - a queue with ``worker_concurrency=10``, asked every 10 ms: 116, 97; every 100 ms: 83, 87
    - coroutine workflows, ten at a time: 125, 107; with ``start_workflow_async``: 125, 105
    - with DBOS's own engine, as it is by default (each use tests its connection): 136, 134; SQLite without WAL: 54
    - four threads in place of ten: 142, 136; one: 92, 143; one connection to SQLite, as here, or up to 20: the same

    In all of these it keeps a core busy with Python, for 5.5 to 11 ms an item.
    """
    dbos: Any = import_module("dbos")  # by name, so that type checkers do without it
    engine = _engine(url, connections=1 if url.startswith("sqlite") else 2 * CONCURRENCY)
    RESULTS.create(engine)
    config = {"system_database_url": url, "system_database_engine": engine, "log_level": "ERROR"}
    dbos.DBOS(config={"name": "durable", **config})
    last = _saving(engine)
    first, second, third = (dbos.DBOS.step(name=call.__name__)(call) for call in (begin, go_on, last))

    def take(number: int) -> None:
        third(second(first(number)))

    workflow = dbos.DBOS.workflow()(take)

    def take_once(number: int) -> None:
        with dbos.SetWorkflowID(str(number)):
            workflow(number)

    dbos.DBOS.launch()
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        yield lambda ids: list(threads.map(take_once, ids))
    dbos.DBOS.destroy()
    engine.dispose()


def _saving(engine: Engine) -> Callable[[Value], Value]:
    module: Any = sqlite if engine.dialect.name == "sqlite" else postgresql
    new = module.insert(RESULTS)
    upsert = new.on_conflict_do_update(index_elements=[RESULTS.c.id], set_={"value": new.excluded.value})

    def save(value: Value) -> Value:
        with engine.begin() as connection:
            connection.execute(upsert, {"id": str(value["n"]), "status": "written", "value": json.dumps(value)})
        return value

    return save


@contextmanager
def bulk_inserts(url: str) -> Generator[Run]:
    """The same rows as rxpipe's, inserted at once in their last state."""
    engine = _engine(url, connections=1)
    METADATA.create_all(engine)
    RESULTS.create(engine)

    def run(ids: range) -> None:
        for start in range(0, len(ids), TRANSACTION):
            some = ids[start : start + TRANSACTION]
            now = datetime.now(UTC)
            with engine.begin() as connection:
                connection.execute(insert(ITEMS), [_item(number) for number in some])
                connection.execute(insert(CHECKPOINTS), [_checkpoint(n, of, now) for n in some for of in range(STAGES)])
                connection.execute(insert(RESULTS), [_result(number, now) for number in some])

    yield run
    engine.dispose()


def _item(number: int) -> dict[str, Any]:
    state = {"state": "written", "stage": STAGES, "fence": 1, "owner": "0" * 32}
    known = {"is_integer": True, "seq": number, "attempts": STAGES, "failures": 0, "crashes": 0}
    return {"run_id": 1, "item_key": str(number), **state, **known}


def _checkpoint(number: int, stage: int, now: datetime) -> dict[str, Any]:
    output = {"output": json.dumps({"n": number}), "pickled": None, "at": now.timestamp()}
    return {"run_id": 1, "item_key": str(number), "stage": stage, "fence": 1, **output}


def _result(number: int, now: datetime) -> dict[str, Any]:
    nothing = dict.fromkeys(("question", "answer", "score", "error", "stage"))
    known = {"attempts": STAGES, "seconds": 0.001, "created_at": now, "updated_at": now}
    return {"id": str(number), "status": "written", "value": json.dumps({"n": number}), **nothing, **known}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One way of making items durable.

    Args:
        title: Its name in the table.
        open: Makes ready what takes items through the stages, on a database's URL, and closes it afterwards.
        is_dbos: Whether it leaves DBOS's tables, and not rxpipe's.
        items: How many it is given.
    """

    title: str
    open: Callable[[str], AbstractContextManager[Run]]
    is_dbos: bool = False
    items: int = 10_000


CONTENDERS = {
    "rxpipe-threads": Contender(
        title="**rxpipe** with a `RunStore`, threads",
        open=lambda url: rxpipe(url, [begin, go_on, go_on], "threads"),
    ),
    "rxpipe-asyncio": Contender(
        title="**rxpipe** with a `RunStore`, asyncio",
        open=lambda url: rxpipe(url, [begin_async, go_on_async, go_on_async], "asyncio"),
    ),
    "dbos": Contender(title="DBOS, workflows on threads", open=dbos_threads, is_dbos=True, items=500),
    "bulk": Contender(title=f"SQLAlchemy inserts of the same rows, {TRANSACTION} items at once", open=bulk_inserts),
}


def _engine(url: str, *, connections: int) -> Engine:
    engine = create_engine(url, pool_size=connections, max_overflow=0)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _durable)
    return engine


def _durable(connection: sqlite3.Connection, _record: object) -> None:
    """As rxpipe has it (WAL, each commit synced), and otherwise as DBOS does."""
    connection.isolation_level = "IMMEDIATE"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def child(key: str, url: str) -> dict[str, float | str]:
    """One measurement, in this process, as ``measure`` reads it; an error if the database then holds anything else."""
    contender = CONTENDERS[key]
    try:
        with contender.open(url) as run:
            run(range(-WARM_UP, 0))
            gc.collect()
            started, started_cpu = time.perf_counter(), time.process_time()
            run(range(contender.items))
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    except ImportError as error:
        return {"missing": f"{MISSING}: {error.msg}"}
    _check(url, contender)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds}


def _check(url: str, contender: Contender) -> None:
    ids = [str(number) for number in range(-WARM_UP, contender.items)]
    steps: Executable = select(CHECKPOINTS.c.item_key)
    ended: Executable = select(ITEMS.c.item_key).where(ITEMS.c.state == "written")
    if contender.is_dbos:
        schema = "" if url.startswith("sqlite") else "dbos."
        steps = text(f"SELECT workflow_uuid FROM {schema}operation_outputs")
        ended = text(f"SELECT workflow_uuid FROM {schema}workflow_status WHERE status = 'SUCCESS'")
    with _engine(url, connections=1).connect() as connection:
        rows = {row.id: row.value for row in connection.execute(select(RESULTS))}
        assert rows == {one: {"n": int(one)} for one in ids}, f"{len(rows)} rows of {len(ids)} items, or wrong ones"
        assert Counter(connection.execute(ended).scalars()) == Counter(ids), "not all items have ended once"
        counts = Counter(connection.execute(steps).scalars())
        assert counts == dict.fromkeys(ids, STAGES), "an item has too many checkpoints, or too few"


def measure(key: str, url: str) -> Sample:
    """Measure a contender in a fresh process.

    Raises:
        Missing: It is not installed.
        Failed: It failed, left something wrong, or hung.
    """
    command = [sys.executable, "-m", f"{__package__}.durable", "--child", key]
    options: dict[str, Any] = {"cwd": CHECKOUT, "capture_output": True, "text": True, "timeout": PATIENCE}
    try:
        done = subprocess.run(command, input=url, **options)  # arguments could be seen by anybody
    except subprocess.TimeoutExpired:
        raise Failed(f"hung: no end within {PATIENCE:.0f} s") from None
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    answer = json.loads(done.stdout.splitlines()[-1])
    if "missing" in answer:
        raise Missing(answer["missing"])
    return Sample(**answer, peak_mb=math.nan)  # nobody asks


@contextmanager
def sqlite_place() -> Generator[str]:
    """A file in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        yield f"sqlite:///{directory}/durable.db"


@contextmanager
def postgres_place() -> Generator[str]:
    """A database of its own, dropped afterwards whoever still uses it."""
    name = f"rxpipe_{uuid.uuid4().hex}"
    _ask(f"CREATE DATABASE {name}")
    try:
        yield make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
    finally:
        _ask(f"DROP DATABASE {name} WITH (FORCE)")


def _ask(statement: str) -> str:
    engine = create_engine(POSTGRES, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.exec_driver_sql(statement)
        return str(result.scalar_one()) if result.returns_rows else ""


PLACES = {"SQLite": sqlite_place, "PostgreSQL": postgres_place}


def main() -> int:
    """Measure, print, and return the exit status: 1 if a contender failed, whatever is reached."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.durable", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    repeats = parser.parse_args().repeats
    server, why_not = _server()
    print(f"Measured on {machine()}; {'; '.join([*_versions(), server or 'no PostgreSQL', _sync()])}.")
    print(f"Three stages that do nothing, concurrency {CONCURRENCY}; three checkpoints and one row an item.")
    print(f"Medians of {repeats} interleaved rounds; a fresh process and a new database for each figure.")
    results = rounds(["SQLite", "PostgreSQL"] if server else ["SQLite"], repeats)
    for place, of_place in results.items():
        print(f"\n### Durable items in {place}\n\n{table(of_place)}")
    if why_not:
        print(f"\nPostgreSQL was skipped: {why_not}.")
    return 1 if any(result.failure for of_place in results.values() for result in of_place.values()) else 0


def rounds(places: Sequence[str], repeats: int) -> Mapping[str, Mapping[str, Result]]:
    """The results of each place, by the contender's key; one that failed once is measured no more."""
    tasks = {key: Task(key=key, job=Job(items=contender.items)) for key, contender in CONTENDERS.items()}
    results = {place: {key: Result(task=task) for key, task in tasks.items()} for place in places}
    for number in range(1, repeats + 1):
        for place, of_place in results.items():
            for key, result in of_place.items():
                if not (result.missing or result.failure):
                    _add(result, place)
                    outcome = result.missing or result.failure or f"{result.samples[-1].seconds:.3f} s"
                    print(f"{number}/{repeats} {place} {key}: {outcome}", file=sys.stderr, flush=True)
    return results


def _add(result: Result, place: str) -> None:
    try:
        with PLACES[place]() as url:
            result.samples.append(measure(result.task.key, url))
    except Missing as missing:
        result.missing = str(missing)
    except Failed as failed:
        result.failure = str(failed)


def table(results: Mapping[str, Result]) -> str:
    """Items a second, and how many times those of DBOS and of bulk inserts."""
    versus = ["rxpipe / DBOS (range)", "at least", "reached", "rxpipe / inserts (range)"]
    rows = [[CONTENDERS[key].title, *_row(result, results)] for key, result in results.items()]
    return markdown(["", "items", "items/s (range)", "CPU µs/item", *versus], rows)


def _row(result: Result, results: Mapping[str, Result]) -> list[str]:
    if not result.samples:
        return [result.missing or f"**failed**: {result.failure}"]
    items = result.task.job.items
    cpu = result.per_item(result.median(lambda sample: sample.cpu_seconds))
    row = [f"{items:,}", _range([items / sample.seconds for sample in result.samples], ",.0f"), f"{cpu:.0f}"]
    times, share = (ratios(results[rival], result) for rival in ("dbos", "bulk"))
    if result.task.key in ("dbos", "bulk"):
        return row
    reached = "" if not times else "yes" if statistics.median(times) >= LEAST_TIMES_DBOS else "**no**"
    return [*row, _range(times, ".1f"), f"{LEAST_TIMES_DBOS:.0f}", reached, _range(share, ".2f")]


def _range(figures: Sequence[float], how: str) -> str:
    if not figures:
        return ""
    return f"{statistics.median(figures):{how}} ({min(figures):{how}} to {max(figures):{how}})"


def _server() -> tuple[str, str]:
    """The server's name and version; or nothing, and why it cannot be used."""
    try:
        return f"PostgreSQL {_ask('SHOW server_version').split()[0]}", ""
    except (SQLAlchemyError, ImportError) as error:
        return "", " ".join(str(getattr(error, "orig", None) or error).split())


def _versions() -> list[str]:
    packages = [name for name in ("dbos", "SQLAlchemy", "psycopg") if find_spec(name.lower()) is not None]
    return [*(f"{name} {version(name)}" for name in packages), f"SQLite {sqlite3.sqlite_version}"]


def _sync() -> str:
    """How long the temporary directory's file system takes to make 4 KB safe, which bounds every commit."""
    seconds: list[float] = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            started = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - started)
    return f"fsync {statistics.median(seconds) * 1e3:.2f} ms"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], sys.stdin.read())))
    else:
        sys.exit(main())
