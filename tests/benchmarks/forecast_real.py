"""Real runs to compare forecasts with, each in a process of its own against a fresh server in another."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from .forecast_cases import WORLDS, Case, Setup, pipeline_of
from .llm import fake_server, get
from .measure import CHECKOUT, PATIENCE

CALM = 0.003  # seconds of lag, in the mean: with more, a run was disturbed
_PATIENT = 60.0  # seconds to wait for others to end
_TRIES = 3  # of a run that is disturbed; the calmest counts
_TICK = 0.01  # seconds that a thread sleeps, to see whether the machine is busy


@dataclass(frozen=True, kw_only=True)
class RealRun:
    """What a run took.

    Attributes:
        seconds: Wall time.
        rate: Items that ended in a second.
        cost: What its calls cost.
        run: Its number in the store; None without one.
        written: Rows.
        failed: Items that failed.
        statuses: How the server answered, and how often.
        cpu_seconds: Of the run's process.
        lag: Seconds by which a thread that slept 10 ms woke up late, in the mean: more of it means a busy machine.
    """

    seconds: float
    rate: float
    cost: float
    run: int | None
    written: int
    failed: int
    statuses: Mapping[str, int]
    cpu_seconds: float
    lag: float


def run_base(case: Case, folder: Path) -> RealRun:
    """Make the base run that a case is forecast from, which is recorded in ``folder/BASE.db``."""
    setup = replace(WORLDS[case.world].base, seed=case.base_seed)

    def run(number: int) -> RealRun:
        _delete(folder / f"try{number}.db")
        return _run(case.world, setup, f"sqlite:///{folder}/try{number}.db")

    number, real = _calmest(run)
    _delete(folder / f"{case.base}.db")
    for file in folder.glob(f"try{number}.db*"):
        file.rename(folder / file.name.replace(f"try{number}.db", f"{case.base}.db"))
    for number in range(_TRIES):
        _delete(folder / f"try{number}.db")
    return real


def run_cases(
    chosen: Sequence[Case], folder: Path, at_a_time: int, tell: Callable[[Case, RealRun], None]
) -> dict[str, RealRun]:
    """Make real runs, several at a time.

    Args:
        chosen: Which.
        folder: Where their databases are, which are deleted.
        at_a_time: How many.
        tell: Called as each ends.
    """

    def run(numbered: tuple[int, Case]) -> RealRun:
        place, case = numbered
        file = folder / f"case{place}.db"

        def once(_: int) -> RealRun:
            try:
                return _run(case.world, case.setup, f"sqlite:///{file}")
            finally:
                _delete(file)

        _, real = _calmest(once)
        tell(case, real)
        return real

    with ThreadPoolExecutor(at_a_time) as pool:
        return dict(zip([case.real for case in chosen], pool.map(run, enumerate(chosen)), strict=True))


def _calmest(run: Callable[[int], RealRun]) -> tuple[int, RealRun]:
    """Run until the machine is calm: the number of the try, and what was."""
    tries: list[tuple[int, RealRun]] = []
    while len(tries) < _TRIES and (not tries or tries[-1][1].lag > CALM):
        _wait_for_calm()
        tries.append((len(tries), run(len(tries))))
    return min(tries, key=lambda one: one[1].lag)


def _wait_for_calm() -> None:
    """Wait until the machine is calm, but no longer than a minute."""
    until = time.monotonic() + _PATIENT
    while fmean(_late() for _ in range(50)) > CALM and time.monotonic() < until:
        time.sleep(1)


def _late() -> float:
    """Seconds by which a thread that sleeps wakes up late."""
    slept = time.perf_counter()
    time.sleep(_TICK)
    return time.perf_counter() - slept - _TICK


def _delete(file: Path) -> None:
    for left in file.parent.glob(f"{file.name}*"):
        left.unlink()


def _run(world: str, setup: Setup, database: str) -> RealRun:
    with fake_server([*WORLDS[world].server, "--seed", str(setup.seed)]) as (url, counts):
        command = [sys.executable, "-m", __name__, json.dumps(asdict(setup)), url, database]
        done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True)
        stats = get(counts)
    assert stats["in_flight"] == 0, f"left calls behind: {stats}"
    return RealRun(**json.loads(done.stdout.splitlines()[-1]), statuses=stats["by_status"])


def child(setup: Setup, url: str, database: str) -> dict[str, Any]:
    """Make a run in this process."""
    import openai

    openai.AsyncOpenAI(api_key="none")  # most of it is imported when it is first used
    openai.DefaultAioHttpClient()
    pipeline = pipeline_of(setup, url, database)
    over = threading.Event()
    late: list[float] = []

    def watch() -> None:
        while not over.is_set():
            late.append(_late())

    watching = threading.Thread(target=watch)
    watching.start()
    cpu = time.process_time()
    try:
        report = asyncio.run(_awaited(pipeline, setup.count))
    finally:
        over.set()
        watching.join()
    assert report.taken == report.written + report.failed == setup.count, report
    return {
        "seconds": report.seconds,
        "rate": setup.count / report.seconds,
        "cost": report.usage.cost,
        "run": report.run,
        "written": report.written,
        "failed": report.failed,
        "cpu_seconds": time.process_time() - cpu,
        "lag": fmean(late),
    }


async def _awaited(pipeline: Any, count: int) -> Any:
    return await pipeline.run_async(range(count))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    given["slots"] = tuple(given["slots"])
    os.environ.pop("OPENAI_API_KEY", None)
    sys.stdout.write(json.dumps(child(Setup(**given), sys.argv[2], sys.argv[3])))
