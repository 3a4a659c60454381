"""How long a page waits for what it asks of a large store: ``python -m tests.benchmarks.pages`` from a checkout.

A store of a million items of three stages is filled by bulk inserts, in SQLite and on a PostgreSQL server
(``RXPIPE_TEST_POSTGRES``). Then everything that a page asks for is asked several times, while another run writes into
the same database. Each answer is to take less than 0.3 s.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, get_args

from sqlalchemy import Connection, Engine, create_engine, insert, text
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.insight.reading import ItemFilter, ItemPage, Order
from rxpipe.insight.snapshot import SinkSnapshot, Snapshot, StageSnapshot
from rxpipe.operators.stages.durations import Durations
from rxpipe.store.commits.tallies import recount
from rxpipe.store.items.snapshot_log import to_text
from rxpipe.store.reading.reader import StoreRunsReader
from rxpipe.store.schema.migrations import migrate
from rxpipe.store.schema.tables import CALLS, ERRORS, RUNS, SNAPSHOTS, WORKERS

from .durable import PLACES
from .machine import machine
from .measure import CHECKOUT
from .tables import markdown

RUN = 1
STAGES = ("generation", "answering", "grading")
BEGAN = 1_700_000_000.0
RATE = 500.0  # items a second, in the run that is made up
GROUP = 500  # items whose calls are one row
SNAPSHOTS_EACH = 600
WORKERS_OF_RUN = 2
GOAL = 0.3
ORDERS: tuple[Order, ...] = get_args(Order)

_STAGES_TEXT = json.dumps([{"name": name, "call": f"bank.{name}", "version": None} for name in STAGES])
_NUMBERS = {
    "postgresql": "SELECT generate_series(1, CAST(:most AS BIGINT)) AS number",
    "sqlite": "WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < "
    ":most) SELECT number FROM numbers",
}
# Of fifty items, one has failed and one was dropped; of twenty, one is a child of one of 500 items, or of a single one.
_STATE = "CASE number % 50 WHEN 0 THEN 'failed' WHEN 1 THEN 'dropped' ELSE 'written' END"
_SECONDS = "2.0 + (number * 7919 % 1000) / 100.0"
_ERROR = (
    "CASE number % 50 WHEN 0 THEN 'ValueError: no answer to ' || number WHEN 1 THEN 'too easy: ' || (number % 7) END"
)
_PARENT = "CASE WHEN number % 40 = 7 THEN '1' WHEN number % 40 = 27 THEN CAST(2 + number % 500 AS TEXT) END"
_ITEMS = f"""
INSERT INTO rxpipe_items (run_id, item_key, is_integer, seq, state, stage, fence, owner, attempts, failures, crashes,
    last_error, parent_key, root_key, depth, taken_at, ended_at, seconds)
SELECT 1, CAST(number AS TEXT), number > 0, number, {_STATE}, CASE WHEN number % 50 < 2 THEN number % 3 ELSE 3 END, 1,
    'w', 3, 0, 0, {_ERROR}, {_PARENT}, {_PARENT}, 0,
    :began + number / :rate - ({_SECONDS}), :began + number / :rate, {_SECONDS}
FROM (NUMBERS) AS numbers
"""
_CHECKPOINTS = """
INSERT INTO rxpipe_checkpoints (run_id, item_key, stage, fence, output, at)
SELECT 1, CAST(number AS TEXT), :stage, 1, '{"question": "what is it?", "number": ' || number || '}',
    :began + number / :rate
FROM (NUMBERS) AS numbers WHERE number % 50 >= 2
"""
_FAILURES = """
INSERT INTO rxpipe_failures (id, run_id, item_key, stage, attempt, final, type, text, traceback, worker, at)
SELECT CAST(number AS TEXT), 1, CAST(number AS TEXT), 'answering', 1, number > 0, 'ValueError',
    'ValueError: no answer to ' || number, 'Traceback (most recent call last): and so on', 'w', :began + number / :rate
FROM (NUMBERS) AS numbers WHERE number % 50 = 0
"""


def fill(engine: Engine, items: int) -> None:
    """Make a store with a run of so many items."""
    numbers = _NUMBERS[engine.dialect.name]
    given = {"most": items, "began": BEGAN, "rate": RATE}
    with engine.begin() as connection:
        migrate(connection)
        row = {"name": "bank", "generation": 1, "stages": _STAGES_TEXT, "created_at": BEGAN}
        connection.execute(insert(RUNS).values(**row, finished_at=BEGAN + items / RATE))
    for statement, more in (
        (_ITEMS, {}),
        *((_CHECKPOINTS, {"stage": stage}) for stage in range(len(STAGES))),
        (_FAILURES, {}),
    ):
        with engine.begin() as connection:
            names = {name: value for name, value in {**given, **more}.items() if f":{name}" in statement + numbers}
            connection.execute(text(statement.replace("NUMBERS", numbers)), names)
    with engine.begin() as connection:
        recount(connection, RUN)
        kinds = [
            {"kind": f"{kind:032}", "stage": "answering", "type": "ValueError", "text": "no answer to 7"}
            for kind in range(100)
        ]
        sums = {"run_id": RUN, "worker": "w", "items": items // 5_000, "calls": items // 5_000, "last_at": BEGAN}
        connection.execute(insert(ERRORS), [{**kind, **sums} for kind in kinds])
        _add_calls(connection, items)
        for worker in range(WORKERS_OF_RUN):
            _add_worker(connection, f"{worker:032}", items)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")


def _add_calls(connection: Connection, items: int) -> None:
    rows: list[dict[str, Any]] = []
    for first in range(1, items + 1, GROUP):
        numbers = range(first, min(first + GROUP, items + 1))
        calls = {
            "item": [str(number) for number in numbers for _ in STAGES],
            "stage": [stage for _ in numbers for stage in range(len(STAGES))],
            "began": [2_000 * (number - first) + 700 * stage for number in numbers for stage in range(len(STAGES))],
            "waited": [500] * (len(numbers) * len(STAGES)),
            "seconds": [650_000] * (len(numbers) * len(STAGES)),
            "in_flight": [10] * (len(numbers) * len(STAGES)),
        }
        at = BEGAN + first / RATE
        row = {"run_id": RUN, "worker": "w", "number": first * len(STAGES), "at": at + 1.7, "from_at": at}
        count = len(numbers) * len(STAGES)
        rows.append({**row, "to_at": at + 1.65, "count": count, "calls": json.dumps(calls, separators=(",", ":"))})
    connection.execute(insert(CALLS), rows)


def _add_worker(connection: Connection, worker: str, items: int) -> None:
    seconds = items / RATE
    times = {"lease": 60.0, "started_at": BEGAN, "heartbeat_at": BEGAN + seconds, "ended_at": BEGAN + seconds}
    connection.execute(insert(WORKERS).values(id=worker, run_id=RUN, host="here", pid=1, **times, ended_as="stopped"))
    for number in range(SNAPSHOTS_EACH):
        done = items * (number + 1) // SNAPSHOTS_EACH // WORKERS_OF_RUN
        at = BEGAN + seconds * (number + 1) / SNAPSHOTS_EACH
        row = {"run_id": RUN, "worker": worker, "number": number, "at": at}
        connection.execute(insert(SNAPSHOTS).values(**row, snapshot=to_text(_snapshot(at, done))))


def _snapshot(at: float, done: int) -> Snapshot:
    durations = Durations()
    for bucket in range(150):
        durations.add(0.1 * 1.03**bucket, max(1, done // 150))
    stages = tuple(
        StageSnapshot(name=name, concurrency=10, most=10, calls=done, done=done, seconds=durations, waits=durations)
        for name in STAGES
    )
    sink = SinkSnapshot(name="database", outcomes=done)
    return Snapshot(at=at, elapsed=at - BEGAN, stages=stages, taken=done, written=done, run=RUN, sink=sink)


def questions(reader: StoreRunsReader, items: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What a page asks, each with its name."""
    yield "all runs", reader.runs
    yield "a run", lambda: reader.run(RUN)
    yield "its history", lambda: reader.snapshots(RUN)
    yield "its newest snapshot", lambda: reader.latest(RUN)
    yield "its workers", lambda: reader.workers(RUN)
    yield "its errors", lambda: reader.errors(RUN)
    yield "an item", lambda: reader.item(RUN, str(items // 2))
    yield "an item that failed", lambda: reader.item(RUN, str(items // 2 // 50 * 50))
    yield "an item with many children", lambda: reader.item(RUN, "1")
    yield "timeline of 10 s", lambda: reader.timeline(RUN, since=items / RATE / 2, seconds=10)
    yield "timeline of all", lambda: reader.timeline(RUN, since=0, seconds=items / RATE)
    middle = BEGAN + items / RATE / 2
    filters = {
        "all": ItemFilter(),
        "status written": ItemFilter(status="written"),
        "status failed": ItemFilter(status="failed"),
        "status dropped": ItemFilter(status="dropped"),
        "status running": ItemFilter(status="running"),
        "stage": ItemFilter(stage="grading"),
        "failed in a stage": ItemFilter(status="failed", stage="answering"),
        "an error that many have": ItemFilter(error="NO ANSWER"),
        "an error that one has": ItemFilter(error=f"no answer to {items // 100 * 50}"),
        "an error that none has": ItemFilter(error="no such error"),
        "failed, an error that none has": ItemFilter(status="failed", error="no such error"),
        "a whole ID": ItemFilter(text=str(items // 3)),
        "a part of an ID": ItemFilter(text="77"),
        "a part that no ID has": ItemFilter(text="x7"),
        "children of one": ItemFilter(parent="5"),
        "children of one with many": ItemFilter(parent="1"),
        "longer than 11 s": ItemFilter(longer_than=11),
        "longer than any": ItemFilter(longer_than=1_000),
        "a minute": ItemFilter(since=middle, until=middle + 60),
        "a minute, failed": ItemFilter(status="failed", since=middle, until=middle + 60),
        "everything at once": ItemFilter(
            status="failed", stage="answering", error="answer", text="5", longer_than=3, since=middle
        ),
    }
    for name, wanted in filters.items():
        for order in ORDERS:
            yield f"items, {order}: {name}", partial(reader.items, RUN, wanted, order=order)
        yield f"count: {name}", partial(reader.count, RUN, wanted)
    late: ItemPage = reader.items(RUN, ItemFilter(status="failed"), order="newest")
    if late.following is not None:
        yield "items, the page behind", lambda: reader.items(RUN, ItemFilter(status="failed"), after=late.following)


@contextmanager
def _writing(url: str) -> Generator[None]:
    """Another run writes meanwhile."""
    command = [sys.executable, "-m", f"{__package__}.pages", "--writer"]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(url + "\n")
        process.stdin.flush()
        time.sleep(3)
        try:
            yield
        finally:
            assert process.poll() is None, "the run that was to write has ended"
            process.kill()


def _write(url: str) -> None:
    def call(value: int) -> int:
        time.sleep(0.05)
        return value

    stages = [Stage(name, call, concurrency=10) for name in ("a", "b", "c")]
    Pipeline(*stages, sink=DatabaseSink(url, table="written"), store=RunStore(), name="writer").run(range(10**9))


def main() -> int:
    """Measure, print, and return the exit status: 1 if an answer took too long."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pages", description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000, help="(default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--only", choices=PLACES, help="one of the databases")
    parser.add_argument("--writer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.writer:
        _write(sys.stdin.readline().strip())
        return 0
    print(f"Measured on {machine()}, {options.items:,} items of three stages, while another run writes.\n")
    found: dict[str, dict[str, list[float]]] = {}
    places = [options.only] if options.only else list(PLACES)
    for place in places:
        with PLACES[place]() as url:
            engine = create_engine(url, poolclass=NullPool)
            began = time.perf_counter()
            fill(engine, options.items)
            print(f"{place}: filled in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            with _writing(url), StoreRunsReader(url) as reader:
                for name, ask in questions(reader, options.items):
                    for _ in range(options.repeats):
                        began = time.perf_counter()
                        ask()
                        found.setdefault(name, {}).setdefault(place, []).append(time.perf_counter() - began)
    print(_table(found, places))
    return 1 if any(statistics.median(of) > GOAL for one in found.values() for of in one.values()) else 0


def _table(found: dict[str, dict[str, list[float]]], places: list[str]) -> str:
    rows = [[name, *(_cell(one[place]) for place in places)] for name, one in found.items()]
    return markdown(["asked for", *(f"{place}: first, median, longest ms" for place in places)], rows)


def _cell(seconds: list[float]) -> str:
    figures = seconds[0], statistics.median(seconds), max(seconds)
    return ", ".join(f"{1e3 * figure:.0f}" for figure in figures) + (" **slow**" if figures[1] > GOAL else "")


if __name__ == "__main__":
    sys.exit(main())
