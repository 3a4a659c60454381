"""What one PostgreSQL bears: ``python -m tests.benchmarks.sizing`` prints the tables of docs/production/sizing.md.

Workers (processes) share a run of one stage in PostgreSQL (``RXPIPE_TEST_POSTGRES``). Each counts its claims, commits
and statements. The server's processor time is that of the sessions of the run's database, read from ``/proc``; so the
server must be on this machine. The costs are fitted to runs of one and two workers, and predict the others. Others on
the machine disturb items a second, and hardly processor time and counts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection as Connected
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.store.commits.commits import Commits
from rxpipe.store.items.claims import Claims

from .machine import machine
from .scaling import own_database
from .sizing_model import FLEETS, Costs, bounds, fitted, predicted
from .tables import markdown

SLOTS = 10
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run.

    Attributes:
        workers: Processes.
        call: Seconds of a call.
        items: Items of the run.
        seconds: From the moment that all workers were told to begin until the last one ended.
        claims: Claiming transactions, those that found nothing included.
        commits: Committing transactions.
        statements: Statements, without COMMIT.
        worker_cpu: Processor seconds of all workers, from the beginning.
        server_cpu: Processor seconds of their sessions on the server.
        connections: At most at once.
        size: Bytes by which the database grew.
        dead: Dead rows of ``rxpipe_items`` at the end.
        vacuum: Seconds of a VACUUM of it at the end.
    """

    workers: int
    call: float
    items: int
    seconds: float
    claims: int
    commits: int
    statements: int
    worker_cpu: float
    server_cpu: float
    connections: int
    size: int
    dead: int
    vacuum: float

    @property
    def cores(self) -> float:
        """How many cores the run really had."""
        return (self.worker_cpu + self.server_cpu) / self.seconds


def work(url: str, count: int, call: float, together: Barrier, tell: Connected[Any, Any]) -> None:
    """What each worker does, from the moment that all are ready."""
    made = {"claims": 0, "commits": 0, "statements": 0}

    def counted(name: str, method: Any) -> Any:
        def count(*arguments: Any, **options: Any) -> Any:
            made[name] += 1
            return method(*arguments, **options)

        return count

    def statement(*_: Any) -> None:
        made["statements"] += 1

    def wait(value: int) -> int:
        if call:
            time.sleep(call)
        return value

    for name in ("waiting", "new"):
        setattr(Claims, name, counted("claims", getattr(Claims, name)))
    setattr(Commits, "commit", counted("commits", Commits.commit))  # noqa: B010 - a method is replaced on purpose
    event.listen(Engine, "before_cursor_execute", statement)
    stage = Stage("waiting", wait, concurrency=SLOTS)
    pipeline = Pipeline(stage, sink=DatabaseSink(url, table="sized"), store=RunStore(), name="sized")
    together.wait()
    before = time.process_time()
    pipeline.run(range(count))
    tell.send({**made, "cpu": time.process_time() - before})


def measure(workers: int, call: float, items: int) -> Measured:
    """Let workers share a run, and watch the server."""
    forked = multiprocessing.get_context("fork")  # quick; this process has no threads
    with own_database() as url, ExitStack() as stack:
        first = forked.Process(target=_make_tables, args=(url,))
        first.start()
        first.join()
        together = forked.Barrier(workers + 1)
        ends = [forked.Pipe(duplex=False) for _ in range(workers)]
        started = [forked.Process(target=work, args=(url, items, call, together, theirs)) for _, theirs in ends]
        for one in started:
            one.start()
        connection = stack.enter_context(create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect())
        before = _size(connection)
        together.wait()
        began = time.perf_counter()
        cpu, most = dict[int, float](), 0
        while any(one.is_alive() for one in started):
            time.sleep(0.1)
            pids = _sessions(connection)
            most = max(most, len(pids))
            cpu |= {pid: used for pid in pids if (used := _cpu_of(pid)) is not None}
        seconds = time.perf_counter() - began
        told = [ours.recv() for ours, _ in ends]
        written = connection.execute(text("SELECT count(*) FROM sized")).scalar_one()
        assert written == items, f"{written} rows of {items} items"
        size = _size(connection) - before
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'rxpipe_items'"
        dead_rows = int(connection.execute(text(dead)).scalar_one())
        vacuum = time.perf_counter()
        connection.execute(text("VACUUM rxpipe_items"))
        return Measured(
            workers=workers,
            call=call,
            items=items,
            seconds=seconds,
            claims=sum(one["claims"] for one in told),
            commits=sum(one["commits"] for one in told),
            statements=sum(one["statements"] for one in told),
            worker_cpu=sum(one["cpu"] for one in told),
            server_cpu=sum(cpu.values()),
            connections=most,
            size=size,
            dead=dead_rows,
            vacuum=time.perf_counter() - vacuum,
        )


def _make_tables(url: str) -> None:
    Pipeline(Stage("none", str), sink=DatabaseSink(url, table="others"), store=RunStore(), name="none").run([])


def _size(connection: Connection) -> int:
    return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def _sessions(connection: Connection) -> list[int]:
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return list(connection.execute(text(query)).scalars())


def _cpu_of(pid: int) -> float | None:
    """Processor seconds that a process has used; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICK


def measured_table(runs: list[Measured], costs: Costs) -> str:
    """What was measured, and how far the model is from it."""
    head = ["workers, call", "items", "items/s", "cores had", "claims", "commits", "statements/item", "server µs/item"]
    head += ["worker µs/item", "items/s by the model", "off"]
    rows: list[list[str]] = []
    for run in runs:
        model = predicted(costs, run)
        rate = run.items / run.seconds
        rows.append(
            [
                f"{run.workers}, {run.call * 1e3:g} ms",
                f"{run.items:,}",
                f"{rate:,.0f}",
                f"{run.cores:.2f}",
                f"{run.claims:,}",
                f"{run.commits:,}",
                f"{run.statements / run.items:.2f}",
                f"{run.server_cpu / run.items * 1e6:,.0f}",
                f"{run.worker_cpu / run.items * 1e6:,.0f}",
                f"{model:,.0f}",
                f"{model / rate - 1:+.0%}",
            ]
        )
    return markdown(head, rows)


def fleets_table(costs: Costs) -> str:
    """What bounds fleets that were not measured."""
    head = ["workers", "slots each", "call", "`max_seconds`", "items/s wanted", "connections", "transactions/s"]
    head += ["server cores", "binds"]

    def row(workers: int, slots: int, call: float, window: float) -> list[str]:
        found = bounds(costs, workers, slots, call, window)
        return [
            f"{workers:,}",
            f"{slots:,}",
            f"{call:g} s",
            f"{window:g} s",
            f"{found.wanted:,.0f}",
            f"{found.connections:,}",
            f"{found.transactions:,.0f}",
            f"{found.server_cores:.1f}",
            found.binds,
        ]

    return markdown(head, [row(*fleet) for fleet in FLEETS])


def main() -> None:
    """Measure, fit, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.parse_args()
    runs: list[Measured] = []
    for call in (0.0, 0.05):
        for workers in (1, 2, 4, 8):
            runs.append(measure(workers, call, 2000 if not call else min(2000, 500 * workers)))
            print(json.dumps(asdict(runs[-1])), file=sys.stderr, flush=True)
    costs = fitted([run for run in runs if run.workers <= 2])
    print(f"Measured on {machine()}, load {os.getloadavg()[0]:.1f}.\n")
    print(measured_table(runs, costs))
    last = runs[-1]
    print(f"\n{costs}\n")
    print(f"connections per worker: {max(run.connections / run.workers for run in runs):.1f}")
    print(f"bytes per item: {last.size / last.items:,.0f}")
    print(
        f"dead rows of rxpipe_items per item: {last.dead / last.items:.1f}; VACUUM of it: {last.vacuum * 1e3:.0f} ms\n"
    )
    print(fleets_table(costs))


if __name__ == "__main__":
    main()
