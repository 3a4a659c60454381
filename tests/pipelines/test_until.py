"""``until``: exactly so many rows, whatever fails or is dropped on the way."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import run_virtually, same, step
from reactivex.testing import TestScheduler

from rxpipe import (
    Batch,
    Children,
    DatabaseSink,
    Drop,
    Pipeline,
    Report,
    Retry,
    RunStore,
    SendBack,
    Stage,
    feedback,
    run_config,
)
from rxpipe.pipeline.plan import Scheduler, until_written
from rxpipe.pipeline.run.strategies import Strategy

BOTH = pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
STRATEGIES = pytest.mark.parametrize("strategy", ["per_stage", "per_item"])


def is_list(value: object) -> bool:
    return isinstance(value, list)


def choosy(value: int) -> int | Drop:
    """A third is dropped, a seventh fails."""
    if value % 3 == 0:
        return Drop("third")
    if value % 7 == 0:
        raise ValueError("seventh")
    return value


def four(value: int) -> list[int]:
    return [4 * value + place for place in range(4)]


def count(children: Children[int]) -> int:
    return len(children.values)


FLOWS: dict[str, list[Stage]] = {
    "plain": [Stage("choose", choosy, concurrency=4), Stage("end", same)],
    "expand": [Stage("four", four, expand=True), Stage("choose", choosy, concurrency=4), Stage("end", same)],
    "expand twice": [Stage("a", four, expand=True), Stage("b", four, expand=True), Stage("choose", choosy)],
    "some expand": [Stage("a", four, expand=True, when=lambda value: value % 2), Stage("choose", choosy)],
    "collect": [Stage("four", four, expand=True), Stage("choose", choosy), Stage("count", count, collect=True)],
    "batch": [Stage("choose", choosy), Stage("end", lambda values: values, batch=Batch(max_items=5, max_seconds=0))],
}


def whole(report: Report) -> bool:
    """Whether each item ended once."""
    ended = report.written + report.failed + report.dropped + report.expanded + report.collected + report.cancelled
    return report.taken + report.spawned == ended


@BOTH
@STRATEGIES
@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("until", [1, 7, 60])
def test_exactly_so_many(flow: str, until: int, scheduler: Scheduler, strategy: Strategy) -> None:
    """Out of an endless source."""
    report = Pipeline(*FLOWS[flow], scheduler=scheduler, strategy=strategy).run(itertools.count(1), until=until)
    assert (report.written, report.missing) == (until, 0)
    assert whole(report)


@STRATEGIES
def test_never_more_are_on_their_way_than_are_missing(strategy: Strategy) -> None:
    """As counted where calls begin and rows are written; in virtual time, in which all calls overlap."""
    on_way = most = written = 0
    scheduler = TestScheduler()

    def begin(value: int) -> int:
        nonlocal on_way, most
        on_way += 1
        assert on_way <= 10 - written
        most = max(most, on_way)
        return choosy(value) if value % 2 else value  # type: ignore[return-value]  # a Drop is no value

    def ended(outcome: Any) -> None:
        nonlocal on_way, written
        on_way -= 1
        written += outcome.status == "written"

    pipeline = Pipeline(Stage("begin", begin, concurrency=50), Stage("end", same, concurrency=50), strategy=strategy)
    pipeline.outcomes(itertools.count(1), until=10).subscribe(ended, scheduler=scheduler)
    scheduler.start()
    assert written == 10
    assert most >= 1


def test_an_item_that_comes_back_makes_room_for_its_children() -> None:
    """It has passed the stage that gives places, and is expanded there in its second round."""

    def first(value: int) -> Any:
        return value if feedback() is None else [1, 2]

    def last(value: int) -> int:
        if value >= 100:
            raise SendBack("first", "divide it")
        return value

    pipeline = Pipeline(
        step("first", first),
        step("expand", same, expand=True, when=is_list),
        step("last", last),
    )
    report = run_virtually(until_written(pipeline, 1), range(100, 110))
    assert (report.written, report.missing) == (1, 0)


def test_no_item_is_taken_in_vain() -> None:
    """Of a source whose items all become rows, as many are taken as are wanted."""
    taken: list[int] = []

    def source() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    report = Pipeline(Stage("a", same, concurrency=8), scheduler="threads").run(source(), until=20)
    assert (report.taken, report.cancelled) == (20, 0)
    assert len(taken) <= 21  # one may have been asked for before


def test_the_source_ends_first() -> None:
    """The report says how many are missing."""
    report = Pipeline(Stage("a", choosy)).run(range(10), until=10)
    assert report.written + report.failed + report.dropped == report.taken == 10
    assert report.missing == 10 - report.written > 0
    assert report.exhausted
    assert f"{report.missing} rows are missing: the source has no more" in str(report)


def test_what_was_written_counts(tmp_path: Path) -> None:
    """With a store, that of earlier runs; and a run that has enough takes nothing."""
    url = f"sqlite:///{tmp_path / 'bank.db'}"
    pipeline = Pipeline(*FLOWS["expand"], sink=DatabaseSink(url, table="bank"), store=RunStore(), name="bank")
    for until, expected in ((30, 30), (50, 20), (50, 0), (40, 0)):
        report = pipeline.run(itertools.count(1), until=until)
        assert (report.written, report.missing, report.finished) == (expected, 0, True)
    with closing(sqlite3.connect(tmp_path / "bank.db")) as database:
        assert database.execute("SELECT count(*) FROM bank WHERE status = 'written'").fetchone() == (50,)
    whole_run = pipeline.run(range(1, 40))  # without until: all the rest
    assert whole_run.finished
    assert whole(whole_run)


def test_a_refused_row_is_made_up_for(tmp_path: Path) -> None:
    """It does not count as written."""
    sink = DatabaseSink(f"sqlite:///{tmp_path / 'bank.db'}", table="bank")
    ids = ("\0" * number if number % 4 == 0 else number for number in itertools.count(1))  # those can be no key
    report = Pipeline(Stage("a", lambda value: value), sink=sink).run(ids, until=12)
    assert (report.written, report.failed) == (12, 3)


@pytest.mark.parametrize("until", [0, -1, 1.5])
def test_bad_numbers(until: Any) -> None:
    """They are refused before anything begins."""
    kind = TypeError if until == 1.5 else ValueError
    with pytest.raises(kind, match=f"until must be a whole number of at least 1, not {until}; leave it out"):
        Pipeline(Stage("a", same)).run([1], until=until)


def test_staged_has_none() -> None:
    """It takes all items before it writes one."""
    with pytest.raises(ValueError, match="strategy staged takes all items before it writes one"):
        Pipeline(Stage("a", same), strategy="staged").run([1], until=1)


def test_awaited_and_streamed() -> None:
    """``run_async``, ``stream`` and ``start`` take it, too."""
    pipeline = Pipeline(Stage("a", choosy, retry=Retry(max_attempts=1)), scheduler="asyncio")

    async def main() -> None:
        assert (await pipeline.run_async(itertools.count(), until=9)).written == 9
        streamed = [outcome async for outcome in pipeline.stream(itertools.count(), until=9)]
        assert sum(outcome.status == "written" for outcome in streamed) == 9
        assert (await asyncio.wrap_future(pipeline.start(itertools.count(), until=9).finished)).written == 9

    asyncio.run(main())


def test_in_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``until`` of the file."""
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "bank.yaml"
    config.write_text("until: 4\nsource: {range: 9}\nstages: [{name: a, call: 'builtins:abs'}]\n")
    assert run_config(config).written == 4


@pytest.mark.parametrize("how", ["stop", "abort"])
def test_a_run_that_is_stopped_first(how: str) -> None:
    """Its source may have more: the report does not say otherwise."""
    stopped = threading.Event()

    def numbers() -> Iterator[int]:
        yield from range(3)
        stopped.wait(10)
        yield from itertools.count()

    run = Pipeline(Stage("work", same)).start(numbers(), until=10)
    getattr(run, how)()
    stopped.set()
    report = run.finished.result(10)
    assert report.missing
    assert not report.exhausted
    assert f"{report.missing} rows are missing: the run ended early" in str(report)
