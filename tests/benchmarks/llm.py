"""The question bank through a language model, beside loops over a bare client: ``python -m tests.benchmarks.llm``.

The model is ``rxpipe fake-llm``, in a process of its own on the same machine. rxpipe's figures are of whole durable
runs into SQLite: opening, three calls a question, checkpoints, rows and closing. The bare loops only make as many
calls, and do nothing with the replies. Each figure has a fresh process, with everything imported before, and a fresh
server; what that counted is checked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

from rxpipe import AdaptiveConcurrency, DatabaseSink, Pipeline, Retry, RunStore, Stage
from rxpipe.llm import Provider
from rxpipe.questions.llm import answer, generate, grade

from .machine import machine
from .measure import CHECKOUT, PATIENCE
from .tables import markdown

Scheduler = Literal["threads", "asyncio"]

MESSAGES = [
    {
        "role": "system",
        "content": "You write questions for a question bank. Reply with a JSON object." + " Be brief." * 20,
    },
    {"role": "user", "content": "Write question number {id} of the bank. Topic: fractions."},
]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way of making calls, at one server.

    Args:
        title: Its name in the table.
        server: Options of ``rxpipe fake-llm``.
        questions: How many; three calls each.
        slots: Calls at once: of each stage, or of a loop over a client.
        client: ``rxpipe``, or which HTTP library a bare client is on.
        scheduler: Of rxpipe.
        auto: Whether rxpipe finds out how many calls at once there may be.
        timeout: Seconds for one call.
    """

    title: str
    server: Sequence[str]
    questions: int
    slots: int
    client: Literal["rxpipe", "httpx", "aiohttp"] = "rxpipe"
    scheduler: Scheduler = "asyncio"
    auto: bool = False
    timeout: float = 60.0

    @property
    def calls(self) -> int:
        """Calls that are needed."""
        return 3 * self.questions


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cases that are compared.

    Args:
        title: What is measured.
        cases: By key; the first is what the others are compared with.
        rival: The key of the case that the first one is measured by.
        at_least: What the first one's calls a second should be of the rival's.
    """

    title: str
    cases: dict[str, Case]
    rival: str | None = None
    at_least: float | None = None


def _cases(server: Sequence[str], questions: int, slots: int) -> dict[str, Case]:
    same: dict[str, Any] = {"server": server, "questions": questions}
    loop = 3 * slots if slots != 167 else 500
    return {
        "rxpipe": Case(title="**rxpipe**, asyncio", slots=slots, **same),
        "threads": Case(title="**rxpipe**, threads", slots=slots, scheduler="threads", **same),
        "httpx": Case(title=f"bare `openai` client, loop of {loop}", slots=loop, client="httpx", **same),
        "aiohttp": Case(
            title=f"bare `openai` client on its aiohttp transport, loop of {loop}", slots=loop, client="aiohttp", **same
        ),
    }


QUICK = ["--latency", "0.2"]
FAULTS = [*QUICK, "--limited", "0.05", "--retry-after", "1", "--fail", "0.02"]

GROUPS = {
    "slots": Group(
        title="300 questions, 16 slots a stage, calls of 0.2 s",
        cases=_cases(QUICK, 300, 16),
        rival="httpx",
        at_least=0.95,
    ),
    "many": Group(
        title="1,000 questions, 167 slots a stage (500 in all), calls of 0.5 s",
        cases=_cases(["--latency", "0.5"], 1000, 167),
        rival="httpx",
        at_least=0.90,
    ),
    "faults": Group(
        title="1,000 questions, 16 slots a stage, calls of 0.2 s, with faults",
        cases={
            "faults": Case(title="5% of 429 (`Retry-After: 1`), 2% of 500", server=FAULTS, questions=1000, slots=16),
            "none": Case(title="without faults", server=QUICK, questions=1000, slots=16),
            "hang": Case(
                title="1% of calls hang, time limit 2 s",
                server=[*QUICK, "--hang", "0.01"],
                questions=1000,
                slots=16,
                timeout=2,
            ),
        },
        rival="none",
        at_least=1 / 1.3,
    ),
    "auto": Group(
        title="A server that takes 50 calls at once, which the config does not know: `concurrency: auto`",
        cases={
            "auto": Case(
                title="three stages, 2,000 questions",
                server=["--latency", "0.2", "--slots", "50"],
                questions=2000,
                slots=200,
                auto=True,
            ),
        },
    ),
}


@dataclass(kw_only=True)
class Sample:
    """What one process measured.

    Attributes:
        seconds: The whole of it.
        cpu_seconds: Of its process.
        stats: What the server counted.
        in_flight: How many calls the server had, looked at twenty times a second.
    """

    seconds: float
    cpu_seconds: float
    stats: dict[str, Any]
    in_flight: list[int] = field(default_factory=list[int])


@contextmanager
def fake_server(options: Sequence[str]) -> Generator[tuple[str, str]]:
    """A server of its own; the URLs of its API and of its counts."""
    command = [sys.executable, "-m", "rxpipe.cli", "fake-llm", "--port", "0", *options]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        try:
            yield words[3].rstrip(","), words[-1]
        finally:
            process.terminate()


def get(url: str) -> dict[str, Any]:
    """A JSON document."""
    with urllib.request.urlopen(url, timeout=30) as response:
        return dict(json.load(response))


def child(case: Case, url: str) -> dict[str, float]:
    """One measurement, in this process."""
    import openai

    openai.AsyncOpenAI(api_key="none")  # most of it is imported when it is first used
    openai.DefaultAioHttpClient()
    started, started_cpu = time.perf_counter(), time.process_time()
    if case.client == "rxpipe":
        _run_pipeline(case, url)
    else:
        asyncio.run(_loop(case, url))
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - started_cpu}


def _run_pipeline(case: Case, url: str) -> None:
    provider = Provider(model="fake-model", base_url=url)
    calls: dict[str, Any] = {"generation": partial(generate, topic="fractions"), "answering": answer, "grading": grade}
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(
            *(
                Stage(
                    name,
                    partial(call, provider=provider),
                    concurrency=AdaptiveConcurrency() if case.auto else case.slots,
                    timeout=case.timeout,
                    retry=Retry(max_attempts=10, max_delay=5),
                    rate_limit=provider.limits,
                )
                for name, call in calls.items()
            ),
            sink=DatabaseSink(f"sqlite:///{folder}/questions.db"),
            store=RunStore(),
            scheduler=case.scheduler,
        )
        report = pipeline.run(range(case.questions))
    assert (report.written, report.failed) == (case.questions, 0), report


async def _loop(case: Case, url: str) -> None:
    import openai

    http: Any = openai.DefaultAioHttpClient() if case.client == "aiohttp" else None
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=http) as client:
        left = iter(range(case.calls))

        async def call() -> None:
            for number in left:
                messages: Any = [{**one, "content": one["content"].format(id=number)} for one in MESSAGES]
                await client.chat.completions.create(model="fake-model", messages=messages)

        await asyncio.gather(*(call() for _ in range(case.slots)))


def measure(group: str, key: str) -> Sample:
    """Measure a case in a fresh process, and look at what the server counted."""
    case = GROUPS[group].cases[key]
    with fake_server(case.server) as (url, counts):
        command = [sys.executable, "-m", f"{__package__}.llm", "--child", group, key, url]
        in_flight: list[int] = []
        over = threading.Event()

        def watch() -> None:
            while case.auto and not over.wait(0.05):
                in_flight.append(get(f"{counts}?keys=0")["in_flight"])

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            done = subprocess.run(
                command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True
            )
        finally:
            over.set()
            watching.join()
        stats = get(counts)
    del stats["by_key"]
    assert stats["by_status"].get("200") == case.calls, f"made too many calls, or too few: {stats}"
    assert stats["in_flight"] == 0, f"left calls behind: {stats}"
    return Sample(**json.loads(done.stdout.splitlines()[-1]), stats=stats, in_flight=in_flight)


def main() -> int:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.llm", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--only", choices=GROUPS, action="append", help="only these")
    options = parser.parse_args()
    print(f"Measured on {machine()}; openai {version('openai')}; aiohttp {version('aiohttp')}.")
    print(f"Medians of {options.repeats} interleaved rounds; a fresh process and a fresh server for each figure.")
    for name in options.only or GROUPS:
        samples: dict[str, list[Sample]] = {key: [] for key in GROUPS[name].cases}
        for number in range(1, options.repeats + 1):
            for key, found in samples.items():
                found.append(measure(name, key))
                print(
                    f"{number}/{options.repeats} {name} {key}: {found[-1].seconds:.2f} s", file=sys.stderr, flush=True
                )
        print(f"\n### {GROUPS[name].title}\n\n{table(GROUPS[name], samples)}")
    return 0


def table(group: Group, samples: dict[str, list[Sample]]) -> str:
    """Seconds, calls a second, and the first case's share of its rival."""
    rows: list[list[str]] = []
    for key, case in group.cases.items():
        rates = [case.calls / sample.seconds for sample in samples[key]]
        cpu = statistics.median(sample.cpu_seconds for sample in samples[key]) / case.calls * 1e3
        seconds = statistics.median(sample.seconds for sample in samples[key])
        made = statistics.median(sample.stats["calls"] for sample in samples[key])
        row = [case.title, f"{seconds:.2f}", _range(rates, ",.0f"), f"{made:,.0f}", f"{cpu:.2f}"]
        if group.rival is not None and group.at_least is not None:
            others = [group.cases[group.rival].calls / sample.seconds for sample in samples[group.rival]]
            shares = [rate / other for rate, other in zip(rates, others, strict=True)]
            row.append("" if key == group.rival else _range(shares, ".2f"))
            if key == next(iter(group.cases)):
                reached = "yes" if statistics.median(shares) >= group.at_least else "**no**"
                row += [f"{group.at_least:.2f}", reached]
            else:
                row += ["", ""]
        elif case.auto:
            later = [count for sample in samples[key] for count in sample.in_flight[len(sample.in_flight) // 4 : -20]]
            deciles = statistics.quantiles(later, n=10)
            row.append(f"{statistics.median(later):.0f} ({deciles[0]:.0f} to {deciles[-1]:.0f})")
        rows.append(row)
    versus = ["share of the rival (range)", "at least", "reached"] if group.rival else []
    if not group.rival:
        versus = ["calls in flight once settled: median (1st to 9th decile)"]
    return markdown(["", "seconds", "calls/s (range)", "calls made", "CPU ms/call", *versus], rows)


def _range(figures: Sequence[float], how: str) -> str:
    return f"{statistics.median(figures):{how}} ({min(figures):{how}} to {max(figures):{how}})"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(GROUPS[sys.argv[2]].cases[sys.argv[3]], sys.argv[4])))
    else:
        sys.exit(main())
