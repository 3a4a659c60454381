"""The command line: ``python -m tests.benchmarks``, from the root of a checkout.

Markdown goes to stdout, progress to stderr. Whether a figure is reached does not change the exit status: only
a contender that fails, hangs, or loses or doubles an item does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from . import tables
from .contenders import CONTENDERS, LATENCY, MEMORY, OVERHEAD, START
from .machine import machine
from .measure import Result, Task, rounds
from .workload import ATTEMPTS, CONCURRENCY, QUEUE_SIZE, SLEEPS, TIMEOUT, Job, Tally

LATENCY_ITEMS = 300
START_ITEMS, START_RUNS = 10, 30
FEW, MANY = 10_000, 1_000_000
KEYS = {"overhead": OVERHEAD, "latency": LATENCY, "start": START, "memory": MEMORY}

Results = Mapping[str, Result]
Measure = Callable[[str, Iterable[Task]], Results]


def main() -> int:
    """Measure, print, and return the exit status."""
    options = _options()
    chosen = _chosen(options.only)
    started = time.monotonic()
    failed = False

    def measure(label: str, tasks: Iterable[Task], repeats: int = options.repeats) -> Results:
        nonlocal failed
        results = rounds(tasks, repeats, lambda text: print(f"{label} {text}", file=sys.stderr, flush=True))
        failed = failed or any(result.failure for result in results.values())
        return results

    print(f"Measured on {machine()}.")
    limits = f"time limit {TIMEOUT:.0f} s, {ATTEMPTS} attempts"
    print(f"Each stage: concurrency {CONCURRENCY}, queue size {QUEUE_SIZE}, {limits}.")
    print(f"Medians of {options.repeats} interleaved rounds; a fresh process for each figure.")
    if keys := chosen["overhead"]:
        tasks = [Task(key=key, job=Job(items=_share(key, options.items))) for key in keys]
        _section("Overhead: three stages that do nothing", tables.overhead(measure("overhead", tasks)))
    if keys := chosen["latency"]:
        job = Job(items=LATENCY_ITEMS, latencies=SLEEPS)
        title = f"Latency: {job.items} items, {tables.describe(job)}"
        _section(title, tables.latency(measure("latency", [Task(key=key, job=job) for key in keys])))
    if keys := chosen["start"]:
        tasks = [Task(key=key, job=Job(items=START_ITEMS), runs=START_RUNS) for key in keys]
        _section(f"Start and stop: runs of {START_ITEMS} items", tables.start(measure("start", tasks)))
    if keys := chosen["memory"]:
        few, many = (
            measure("memory", [Task(key=key, job=Job(items=items), warm=False) for key in keys], 1)
            for items in (FEW, MANY)
        )
        _section("Memory: the peak of a process", tables.memory(few, many))
    print(f"\nTaken in {time.monotonic() - started:.0f} s.")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="rxpipe and its rivals")
    parser.add_argument("--items", type=int, default=50_000, help="of an overhead run (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="WORD",
        help="only what has one of these in its table/name: overhead, rxpipe, latency/asyncio",
    )
    options = parser.parse_args()
    if not 1 <= options.items <= Tally.CAPACITY or options.repeats < 1:
        parser.error(f"--items is 1 to {Tally.CAPACITY}, --repeats at least 1")
    return options


def _chosen(words: list[str]) -> dict[str, list[str]]:
    def wanted(name: str) -> bool:
        return not words or any(word in name for word in words)

    chosen = {table: [key for key in keys if wanted(f"{table}/{key}")] for table, keys in KEYS.items()}
    if not any(chosen.values()):
        known = ", ".join(f"{table}/{key}" for table, keys in KEYS.items() for key in keys)
        sys.exit(f"--only matches none of: {known}")
    return chosen


def _share(key: str, items: int) -> int:
    return max(1, int(items * CONTENDERS[key].share))


def _section(title: str, text: str) -> None:
    print(f"\n### {title}\n\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
