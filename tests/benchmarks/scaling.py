"""Where calls run, compared: ``python -m tests.benchmarks.scaling`` prints the tables of docs/scaling.md.

Calls that keep a core busy, on threads, on worker processes and on a Dask cluster of this machine, interleaved in each
round; what an engine costs a call, and what it costs to open; and calls that wait, in one to four processes that share
a run in PostgreSQL (``RXPIPE_TEST_POSTGRES``). Ratios count, as each is taken within a round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage, from_iterable
from rxpipe import operators as ops
from rxpipe.executors import DaskCluster, Processes
from rxpipe.operators.stage import ExecutionTarget

from .durable import POSTGRES
from .machine import machine
from .measure import CHECKOUT
from .tables import markdown

WORKERS = 2
WAIT = 0.05  # seconds of a call that waits
SLOTS = 10  # of such calls in each process
Times = dict[str, list[float]]


def nothing(value: int) -> int:
    return value


def wait(value: int) -> int:
    time.sleep(WAIT)
    return value


def busy(steps: int) -> int:
    """Keep a core busy in Python's own code, which has one thread run at a time."""
    total = 0
    for number in range(steps):
        total += number * number % 7
    return total


def steps_for(seconds: float) -> int:
    """How many steps take so long here and now."""
    best = min(_seconds(lambda: busy(100_000)) for _ in range(50))
    return int(100_000 * seconds / best)


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


@contextmanager
def engines() -> Generator[tuple[dict[str, tuple[ExecutionTarget | None, int]], list[list[str]]]]:
    """Places by name, each with as many slots as suit it; and how long it took to open them."""
    opened: list[list[str]] = []
    with ExitStack() as stack:

        def made(name: str, place: Any) -> Any:
            began = time.perf_counter()
            entered = stack.enter_context(place())
            from_iterable([0]).pipe(ops.stage(nothing, scheduler=entered)).run()
            opened.append([name, f"{time.perf_counter() - began:.2f}"])
            return entered

        processes = made("`Processes(2)`", Processes(WORKERS).open)
        context = multiprocessing.get_context("forkserver")
        pool = made("a `ProcessPoolExecutor` of yours", lambda: ProcessPoolExecutor(WORKERS, mp_context=context))
        dask = made("`DaskCluster(workers=2)`", DaskCluster(workers=WORKERS).open)
        yield (
            {
                "one thread": (None, 1),
                "threads": (None, 2 * WORKERS),
                "`Processes(2)`": (processes, 2 * WORKERS),
                "a `ProcessPoolExecutor` of yours": (pool, 2 * WORKERS),
                "`DaskCluster(workers=2)`": (dask, 4 * WORKERS),
            },
            opened,
        )


def per_call(fn: Callable[[int], int], values: Sequence[int], place: ExecutionTarget | None, slots: int) -> float:
    """Seconds a call, in a run of that many."""
    chain = from_iterable(values).pipe(ops.stage(fn, concurrency=slots, timeout=60, scheduler=place))
    return _seconds(chain.run) / len(values)


def compared(
    fn: Callable[[int], int], values: Sequence[int], places: dict[str, tuple[ExecutionTarget | None, int]], rounds: int
) -> Times:
    """The times of each place, round by round; the first run of each warms it up, and is not counted."""
    times: Times = {name: [] for name in places}
    for number in range(rounds + 1):
        for name, (place, slots) in places.items():
            seconds = per_call(fn, values, place, slots)
            if number:
                times[name].append(seconds)
    return times


def rows(times: Times) -> Iterable[list[str]]:
    """Milliseconds a call, and how many times as fast as the first."""
    first, *_ = times.values()
    for name, found in times.items():
        speed_ups = [one / other for one, other in zip(first, found, strict=True)]
        spread = f"{statistics.median(speed_ups):.2f} ({min(speed_ups):.2f} to {max(speed_ups):.2f})"
        yield [name, f"{statistics.median(found) * 1e3:.2f}", spread]


def work(url: str, count: int) -> None:
    """What each of several processes on one run does, from the moment that it is told to."""
    pipeline = Pipeline(
        Stage("waiting", wait, concurrency=SLOTS), sink=DatabaseSink(url, table="scaled"), store=RunStore()
    )
    print("ready", flush=True)
    sys.stdin.readline()
    pipeline.run(range(count))


@contextmanager
def own_database() -> Generator[str]:
    """An empty database on the PostgreSQL server, dropped afterwards."""
    server = create_engine(POSTGRES, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    name = f"rxpipe_scaling_{os.getpid()}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield server.url.set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def shared(processes: int, count: int) -> float:
    """Seconds in which so many processes make all the calls of a run."""
    with own_database() as url, ExitStack() as stack:
        command = [sys.executable, "-m", f"{__package__}.scaling", "--work", url, "--items", str(count)]
        started = [
            stack.enter_context(
                subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(processes)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "a process could not start"
        began = time.perf_counter()
        for process in started:
            print(file=process.stdin, flush=True)
        assert [process.wait() for process in started] == [0] * processes
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--items", type=int, default=2000, help="calls that wait, in the run that processes share")
    parser.add_argument("--work", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work, options.items)
        return
    where = f"{machine()}; distributed {version('distributed')}"
    print(f"Measured on {where}. Medians of {options.rounds} rounds; in brackets the range.\n")
    with engines() as (places, opened):
        for seconds, calls in ((0.005, 200), (0.05, 40)):
            print(f"\n### Calls that keep a core busy for about {seconds * 1e3:g} ms\n")
            times = compared(busy, [steps_for(seconds)] * calls, places, options.rounds)
            print(markdown(["", "ms/call", "times as fast (range)"], rows(times)), flush=True)
        print("\n### Calls that do nothing: what an engine costs\n")
        costs = compared(nothing, range(1000), places, options.rounds)
        cells = ([name, f"{statistics.median(found) * 1e6:.0f}"] for name, found in costs.items())
        print(markdown(["", "µs/call"], cells))
        print("\n### To open it and make a first call\n")
        print(markdown(["", "s"], opened), flush=True)
    print(f"\n### Calls that wait {WAIT * 1e3:g} ms, {SLOTS} at once in each process, one run in PostgreSQL\n")
    waited: Times = {f"{count} process{'es' * (count > 1)}": [] for count in (1, 2, 4)}
    for _ in range(options.rounds):
        for name, found in waited.items():
            found.append(shared(int(name.split()[0]), options.items) / options.items)
    print(markdown(["", "ms/call", "times as fast (range)"], rows(waited)))


if __name__ == "__main__":
    main()
