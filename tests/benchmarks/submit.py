"""Many concurrent ``submit`` calls beside one ``run``: ``python -m tests.benchmarks.submit``.

The same pipeline, the same IDs, into SQLite, opening and closing included: once as a source of ``run_async``, once as
5,000 tasks that await ``running.submit``. Each figure has a fresh process, with everything imported before. Memory is
what the process's peak grew by from before the pipeline was opened, the callers' tasks included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.pipeline.plan import Scheduler

from .machine import machine
from .measure import CHECKOUT, PATIENCE
from .tables import markdown

AT_LEAST = 0.8


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pipeline of three stages.

    Args:
        title: Its name in the table.
        seconds: What each call takes.
        concurrency: Calls at once of each stage.
        durable: Whether it has a store.
        scheduler: Its scheduler.
        items: How many IDs.
    """

    title: str
    seconds: float = 0.0
    concurrency: int = 10
    durable: bool = False
    scheduler: Scheduler = "asyncio"
    items: int = 5_000

    def pipeline(self, folder: str) -> Pipeline:
        """Into a new database."""

        async def call(value: Any) -> Any:
            if self.seconds:
                await asyncio.sleep(self.seconds)
            return value

        return Pipeline(
            *(Stage(name, call, concurrency=self.concurrency, timeout=60, version=1) for name in "abc"),
            sink=DatabaseSink(f"sqlite:///{folder}/rows.db"),
            store=RunStore() if self.durable else None,
            scheduler=self.scheduler,
        )


CASES = {
    "slow": Case(title="calls of 50 ms, 100 at once", seconds=0.05, concurrency=100),
    "slow, durable": Case(
        title="calls of 50 ms, 100 at once, with a store", seconds=0.05, concurrency=100, durable=True
    ),
    "nothing": Case(title="calls that do nothing"),
    "nothing, threads": Case(title="calls that do nothing, `threads`", scheduler="threads"),
    "nothing, durable": Case(title="calls that do nothing, with a store", durable=True),
}
WAYS = ("run", "submit")


async def _run(pipeline: Pipeline, items: int) -> int:
    return (await pipeline.run_async(range(items))).written


async def _submit(pipeline: Pipeline, items: int) -> int:
    async with pipeline.open() as running:

        async def ask(item_id: int) -> bool:
            return (await running.submit(item_id)).status == "written"

        return sum(await asyncio.gather(*(ask(item_id) for item_id in range(items))))


def child(case: Case, way: str) -> dict[str, float]:
    """One measurement, in this process."""
    with tempfile.TemporaryDirectory() as warm:
        asyncio.run(_run(case.pipeline(warm), 10))
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        written = asyncio.run((_run if way == "run" else _submit)(case.pipeline(folder), case.items))
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert written == case.items
    return {"seconds": seconds, "megabytes": (after - before) / 1024}


def measure(key: str, way: str) -> dict[str, float]:
    """One measurement, in a fresh process."""
    command = [sys.executable, "-m", f"{__package__}.submit", "--child", key, way]
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.submit", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: %(default)s)")
    options = parser.parse_args()
    print(f"Measured on {machine()}. Medians of {options.repeats} interleaved rounds.\n")
    rows: list[list[str]] = []
    for key, case in CASES.items():
        samples: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(options.repeats):
            for way in WAYS:
                samples[way].append(measure(key, way))
        rates = {way: [case.items / one["seconds"] for one in samples[way]] for way in WAYS}
        shares = [ours / theirs for ours, theirs in zip(rates["submit"], rates["run"], strict=True)]
        share = statistics.median(shares)
        grown = {way: statistics.median(one["megabytes"] for one in samples[way]) for way in WAYS}
        rows.append(
            [
                case.title,
                *(f"{statistics.median(rates[way]):,.0f}" for way in WAYS),
                f"{share:.2f} ({min(shares):.2f} to {max(shares):.2f})",
                f"{AT_LEAST:.2f}",
                "yes" if share >= AT_LEAST else "**no**",
                *(f"{grown[way]:.1f}" for way in WAYS),
            ]
        )
    header = ["5,000 IDs", "run, items/s", "submit, items/s", "submit / run (range)", "at least", "reached"]
    print(markdown([*header, "run, MB more", "submit, MB more"], rows))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(CASES[sys.argv[2]], sys.argv[3])))
    else:
        sys.exit(main())
