"""What calls used, from the call to what is told of a run: never lost, never counted twice."""

from __future__ import annotations

import asyncio
import csv
import functools
import json
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import same
from sqlalchemy import func, select

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage, Usage, record_usage
from rxpipe.store.maintenance.export import export, has_integer_ids
from rxpipe.store.maintenance.export_files import columns, records_file
from rxpipe.store.maintenance.prune import extent, prune
from rxpipe.store.maintenance.requeue import requeue
from rxpipe.store.queries.details import details
from rxpipe.store.queries.existing_store import change, opened
from rxpipe.store.queries.history import run, runs
from rxpipe.store.queries.usage import by_item, by_run, has_usage, of_run
from rxpipe.store.schema.tables import USAGE

from .bank import Bank, nothing
from .stores import connected, looking

GENERATION = Usage(prompt_tokens=100, completion_tokens=10, cost=0.5)
ANSWERING = Usage(prompt_tokens=20, completion_tokens=3, cost=0.25)


class Refusal(Exception):
    """The server is busy."""

    uses_attempt = False
    retry_after = 0


def use(stage: str, item_id: Any) -> None:
    """Generating and answering cost something, grading does not."""
    if stage != "grading":
        record_usage(GENERATION if stage == "generation" else ANSWERING)


def times(usage: Usage, count: int) -> Usage:
    """So many of it."""
    return sum([usage] * count, Usage())


def spend(url: str, count: int = 4) -> Bank:
    """A run of so many items."""
    bank = Bank(url, use)
    bank.pipeline().run(range(count))
    return bank


def test_sums_of_costs_have_no_noise(store_url: str) -> None:
    """As 0.1 + 0.2 has it, which is 0.30000000000000004."""

    def pay(item: int, cost: float = 0.1) -> int:
        record_usage(Usage(cost=cost))
        return item

    stages = Stage("one", pay), Stage("other", functools.partial(pay, cost=0.2))
    Pipeline(*stages, sink=DatabaseSink(store_url), store=RunStore(), name="bank").run([1])
    with looking(store_url) as connection:
        assert by_item(connection, 1, ["1"])["1"].cost == 0.3


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_all_calls_of_a_run_are_added_up(store_url: str, scheduler: Any) -> None:
    """As a whole, by stage and by item."""
    report = Bank(store_url, use).pipeline(scheduler=scheduler).run(range(4))
    whole = times(GENERATION + ANSWERING, 4)
    with looking(store_url) as connection:
        one = run(connection)
        assert (one.usage, of_run(connection, 1)) == (whole, whole)
        found = [stage.usage for stage in details(connection, one).stages]
        assert by_item(connection, 1, ["0", "3", "7"]) == dict.fromkeys(["0", "3"], GENERATION + ANSWERING)
    assert found == [times(GENERATION, 4), times(ANSWERING, 4), Usage()]
    assert (report.usage, report.usage_before) == (whole, Usage())


def test_a_later_process_knows_what_was_used_before(store_url: str) -> None:
    """And tells it apart from what it uses itself."""
    bank = spend(store_url)
    report = bank.pipeline().run(range(5))
    assert (report.usage, report.usage_before) == (GENERATION + ANSWERING, times(GENERATION + ANSWERING, 4))
    with looking(store_url) as connection:
        assert run(connection).usage == times(GENERATION + ANSWERING, 5)


def test_calls_that_were_cancelled_are_paid_for(store_url: str) -> None:
    """Also for what they tell as they end: as ``until`` is reached, some calls are not needed any more."""
    begun: list[int] = []
    all_begun = asyncio.Event()

    async def split(value: int) -> list[int]:
        begun.append(value)
        record_usage(GENERATION)
        if len(begun) == 3:
            all_begun.set()
        try:
            await (all_begun if value == 0 else asyncio.Event()).wait()
        finally:
            await asyncio.sleep(0)
            record_usage(ANSWERING)
        return [value] * 3

    stages = Stage("split", split, concurrency=3, expand=True), Stage("work", same, concurrency=1)
    sink = DatabaseSink(store_url, max_seconds=0.002)
    pipeline = Pipeline(*stages, sink=sink, store=RunStore(), scheduler="asyncio", name="costly")
    report = pipeline.run(range(9), until=3)
    assert report.usage == times(GENERATION + ANSWERING, len(begun))
    with looking(store_url) as connection:
        assert of_run(connection, 1) == report.usage


def test_a_new_run_has_used_nothing(store_url: str) -> None:
    """The former one keeps what it used."""
    spend(store_url).pipeline(RunStore(fresh=True)).run([1])
    with looking(store_url) as connection:
        assert by_run(connection, [1, 2, 3]) == {
            1: times(GENERATION + ANSWERING, 4),
            2: GENERATION + ANSWERING,
        }


def test_calls_that_failed_are_paid_for(store_url: str) -> None:
    """Also those that were made again, and those that were pushed back; each with its number."""
    left = [Refusal("busy"), ValueError("no sense"), None]

    def act(stage: str, item_id: Any) -> None:
        use(stage, item_id)
        if stage == "answering" and (error := left.pop(0)) is not None:
            raise error

    retry = Retry(max_attempts=2, initial=0.001, max_delay=0.001)
    report = Bank(store_url, act).pipeline(retry=retry).run([1])
    assert (report.written, report.stages[1].pushed_back, report.stages[1].retried) == (1, 1, 1)
    assert report.stages[1].usage == times(ANSWERING, 3)
    with connected(store_url) as connection:
        found = select(USAGE.c.attempt).where(USAGE.c.stage == "answering").order_by(USAGE.c.attempt)
        assert connection.execute(found).scalars().all() == [1, 1, 2]


def test_what_was_used_stays_though_results_do_not(store_url: str) -> None:
    """Checkpoints that are discarded as their stage has changed were paid for."""
    bank = spend(store_url)
    bank.pipeline(RunStore(resume=True), versions=(None, 2, None)).run(range(4))
    with looking(store_url) as connection:
        found = [stage.usage for stage in details(connection, run(connection)).stages]
    assert found == [times(GENERATION, 4), times(ANSWERING, 8), Usage()]


def test_what_was_used_stays_though_an_item_is_requeued(store_url: str) -> None:
    """It is done again, and paid again."""

    def act(stage: str, item_id: Any) -> None:
        use(stage, item_id)
        if stage == "answering" and bank.act is act:
            raise ValueError

    bank = Bank(store_url, act)
    bank.pipeline().run([1])
    with opened(store_url) as engine, change(engine) as connection:
        assert requeue(connection, run(connection)) == 1
    bank.act = use
    bank.pipeline().run([1])
    with looking(store_url) as connection:
        assert run(connection).usage == GENERATION + times(ANSWERING, 2)


def test_stages_that_the_run_has_no_longer_are_told(store_url: str) -> None:
    """By the name that they had."""
    bank = spend(store_url, 1)
    bank.pipeline(RunStore(resume=True), versions=(None, 2, None)).run([1])
    with connected(store_url) as connection:
        connection.execute(USAGE.update().where(USAGE.c.stage == "answering").values(stage="formerly"))
        connection.commit()
    with looking(store_url) as connection:
        found = {stage.name: stage.usage for stage in details(connection, run(connection)).stages}
    assert found["formerly"].cost > 0
    assert found["answering"] == Usage()


def test_pruning_deletes_it(store_url: str) -> None:
    """Of the run that is pruned, and of no other."""
    spend(store_url).pipeline(RunStore(fresh=True)).run([1])
    with opened(store_url) as engine:
        with looking(store_url) as connection:
            assert [extent(connection, one).usage for one in runs(connection)] == [8, 2]
        assert prune(engine, 1).usage == 8
    with connected(store_url) as connection:
        query = select(USAGE.c.run_id, func.count()).group_by(USAGE.c.run_id)
        assert [tuple(row) for row in connection.execute(query)] == [(2, 2)]


def test_runs_that_use_nothing(store_url: str) -> None:
    """Have no rows, and no fields in what is exported."""
    Bank(store_url, nothing).pipeline().run(range(3))
    with looking(store_url) as connection:
        assert (has_usage(connection, 1), run(connection).usage) == (False, Usage())


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_exported(store_url: str, tmp_path: Path, kind: str) -> None:
    """Each item with what was used for it; as numbers, where there are some."""
    bank = spend(store_url, 2)
    bank.act = nothing
    bank.pipeline().run([9])
    file = tmp_path / f"out.{kind}"
    with looking(store_url) as connection:
        one = run(connection)
        stages = [stage.name for stage in one.stages]
        with records_file(file, stages, integer_ids=has_integer_ids(connection, one), usage=True) as records:
            export(connection, one, records)
    found = [tuple(float(row[name]) for name in ("prompt_tokens", "completion_tokens", "cost")) for row in read(file)]
    assert sorted(found) == [(0.0, 0.0, 0.0), (120.0, 13.0, 0.75), (120.0, 13.0, 0.75)]


def test_fields_that_a_stage_is_called_like() -> None:
    """The stage gives way, where there is such a field."""
    assert columns(["cost"])[2] == "cost"
    assert columns(["cost"], usage=True)[2:] == [
        "cost_output",
        "value",
        "error",
        "failed_stage",
        "attempts",
        "failures",
        "prompt_tokens",
        "completion_tokens",
        "cost",
    ]


def read(file: Path) -> list[dict[str, Any]]:
    """The records of a file."""
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    return rows
