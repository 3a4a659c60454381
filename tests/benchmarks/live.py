"""How soon a live run says what holds it up: ``python -m tests.benchmarks.live`` from a checkout.

The question bank on the fake server, with one trouble each: a slow grader, a rate limit, a slow database, a slow
source. Once a second the run is asked what holds it up. Two moments are noted: when the run had settled, which is when
its insight first had a part of the run to look at; and from when on the right part was named, to the end. The goal is
that the second moment comes at most 10 s after the first.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import create_engine, event

from rxpipe import DatabaseSink, Pipeline, Retry, Stage
from rxpipe.devtools.fake_llm import Behaviour, serving
from rxpipe.llm import Limits, Provider
from rxpipe.questions.llm import answer, generate, grade

from .tables import markdown

SOON = 10.0  # seconds from a settled run to the right sentence
_LATENCY = (0.1, 0.3)  # seconds of a call
_SLOTS = 8
_CALLS: dict[str, Callable[..., Any]] = {"generation": generate, "answering": answer, "grading": grade}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is to be found.

    Attributes:
        name: What it is called in the table.
        wanted: What is to be named.
        grading: Seconds that the grader takes.
        limit: Requests in a minute.
        commit: Seconds that a commit takes besides.
        every: Seconds between two IDs of the source; 0 for all at once.
    """

    name: str
    wanted: str
    grading: tuple[float, float] = _LATENCY
    limit: int | None = None
    commit: float = 0.0
    every: float = 0.0


TROUBLES = (
    Trouble(name="a slow grader", wanted="grading", grading=(0.4, 0.8)),
    Trouble(name="a limit of 10 requests a second", wanted="fake calls", limit=600),
    Trouble(name="a slow database", wanted="database", commit=1.2),
    Trouble(name="a source of 8 items a second", wanted="source", every=0.125),
)


@dataclass(slots=True)
class Said:
    """What a run said, each second.

    Attributes:
        names: What was named.
        settled: The second in which there first was a part of the run to look at; None if there was none.
        sentence: The last sentence.
    """

    names: list[str | None] = field(default_factory=list[str | None])
    settled: int | None = None
    sentence: str = ""


def watched(trouble: Trouble, seconds: float) -> Said:
    """Run the bank with a trouble, and ask each second what holds it up."""
    said = Said()
    with ExitStack() as opened:
        server = opened.enter_context(serving(Behaviour(latency=_LATENCY)))
        slow = opened.enter_context(serving(Behaviour(latency=trouble.grading)))
        folder = opened.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        engine = create_engine(f"sqlite:///{folder}/bank.db")
        if trouble.commit:

            def wait(connection: object) -> None:
                time.sleep(trouble.commit)

            event.listen(engine, "commit", wait)
        limits = None if trouble.limit is None else Limits(requests_per_minute=trouble.limit)
        main = Provider(name="fake", model="fake", base_url=server.url, limits=limits)
        grader = Provider(name="grader", model="fake", base_url=slow.url, limits=limits)
        options: dict[str, Any] = {"concurrency": _SLOTS, "retry": Retry(max_attempts=3), "rate_limit": limits}
        stages = (
            Stage(name, partial(call, provider=grader if name == "grading" else main), **options)
            for name, call in _CALLS.items()
        )
        pipeline = Pipeline(
            *stages,
            sink=DatabaseSink(engine, max_items=20),
            scheduler="asyncio",
        )
        asyncio.run(_watch(pipeline, trouble, seconds, said))
        engine.dispose()
    return said


async def _watch(pipeline: Pipeline, trouble: Trouble, seconds: float, said: Said) -> None:
    run = pipeline.start(_paced(trouble.every) if trouble.every else range(1_000_000))
    for _ in range(int(seconds)):
        await asyncio.sleep(1.0)
        insight = run.insight()
        said.names.append(insight.advice.name)
        said.sentence = insight.advice.sentence
        if said.settled is None and insight.seconds is not None:
            said.settled = len(said.names)
    run.abort()
    await asyncio.wait([asyncio.wrap_future(run.finished)])


async def _paced(every: float) -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(every)


def first_right(names: Iterable[str | None], wanted: str) -> int | None:
    """From which second on the right part is named to the end; None if it is not named at last."""
    first: int | None = None
    for second, name in enumerate(names, 1):
        if name != wanted:
            first = None
        elif first is None:
            first = second
    return first


def main(arguments: list[str] | None = None, write: Callable[[str], object] = print) -> int:
    """Print the table; 1 if a trouble was not named in time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=25.0, help="how long each run is watched")
    seconds = parser.parse_args(arguments).seconds
    rows: list[list[str]] = []
    missed = 0
    for trouble in TROUBLES:
        said = watched(trouble, seconds)
        first = first_right(said.names, trouble.wanted)
        later = None if first is None or said.settled is None else first - said.settled
        is_soon = later is not None and later <= SOON
        missed += not is_soon
        shown = ["never" if second is None else f"{second} s" for second in (said.settled, first, later)]
        rows.append([trouble.name, *shown, f"{SOON:g} s", "yes" if is_soon else "**no**", said.sentence])
    header = ["trouble", "settled", "named from", "later by", "at most", "reached", "what was said at last"]
    write(markdown(header, rows))
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
