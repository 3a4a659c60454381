"""What a run that goes on takes along, and what may be otherwise in a later process."""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import LIMIT, counts

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage, StopRun, Usage, record_usage
from rxpipe.errors import BudgetSpent
from rxpipe.store.maintenance.export import export, has_integer_ids
from rxpipe.store.maintenance.export_files import records_file
from rxpipe.store.maintenance.requeue import requeue
from rxpipe.store.queries.existing_store import change, opened
from rxpipe.store.queries.history import run, runs
from rxpipe.store.schema.tables import FAILURES, USAGE

from .bank import Bank, nothing, rows, states
from .stores import looking

SOON = Retry(max_attempts=2, initial=0.001, max_delay=0.001)


def halting(stage: str, item_id: Any) -> None:
    """Grading stops the run."""
    if stage == "grading":
        raise StopRun("no use")


def half_done(url: str, count: int = 5) -> Bank:
    """A run that was stopped, with items that are open."""
    bank = Bank(url, halting)
    with pytest.raises(StopRun):
        bank.pipeline().run(range(count))
    bank.act = nothing
    return bank


def test_what_is_open_goes_on_though_the_source_has_less(store_url: str) -> None:
    """As with ``--count``, which is about new IDs."""
    bank = half_done(store_url)
    were_open = len(states(store_url))
    report = bank.pipeline().run(range(1))
    assert (report.written, report.finished) == (were_open, True)


def test_time_limits_retries_and_concurrency_may_be_others(store_url: str) -> None:
    """They are no part of what a run is known by."""
    bank = half_done(store_url)
    calls = {"generation": bank.generate, "answering": bank.answer, "grading": bank.grade}
    stages = (
        Stage(name, call, timeout=99, retry=Retry(max_attempts=7), concurrency=2, queue_size=1)
        for name, call in calls.items()
    )
    options: Any = {"strategy": "per_item", "concurrency": 9, "name": "bank"}
    pipeline = Pipeline(*stages, sink=DatabaseSink(store_url), store=RunStore(), **options)
    assert pipeline.run(range(5)).written == 5
    assert bank.called("generation") == list(range(5))


class Worker:
    """Has a state, a method and a call."""

    def __init__(self, state: object) -> None:
        self.state = state

    def __call__(self, value: Any) -> Any:
        return {"value": value}

    def work(self, value: Any) -> Any:
        return {"value": value}


def work(value: Any, *, state: object) -> Any:
    return {"value": value}


def test_objects_methods_and_partials_are_known_by_their_class_or_function(sqlite_url: str) -> None:
    """Whatever they hold."""
    for _ in range(2):
        calls: dict[str, Any] = {
            "object": Worker(object()),
            "method": Worker(object()).work,
            "partial": partial(work, state=object()),
        }
        stages = [Stage(name, call) for name, call in calls.items()]
        report = Pipeline(*stages, sink=DatabaseSink(sqlite_url), store=RunStore()).run([1, 2])
        assert (report.run, report.written + report.written_before) == (1, 2)


def test_a_former_run_is_kept_to_be_looked_at_and_goes_on_no_more(store_url: str, tmp_path: Path) -> None:
    """It can be exported; what was open in it stays open."""
    bank = half_done(store_url)
    were_open = len(states(store_url))
    bank.pipeline(RunStore(fresh=True)).run(range(2))
    assert counts(bank.pipeline().run(range(3))) == (1, 1, 0, 0)
    with looking(store_url) as connection:
        former, latest = runs(connection)
        assert (former.state, former.ready, latest.state, latest.written) == ("unfinished", were_open, "finished", 3)
        found = run(connection, former.id)
        stages = [stage.name for stage in found.stages]
        fields: dict[str, Any] = {"integer_ids": has_integer_ids(connection, found), "usage": False}
        with records_file(tmp_path / "former.jsonl", stages, **fields) as records:
            assert export(connection, found, records) == {"unfinished": were_open}


def test_a_retry_budget_does_not_outlive_a_process(store_url: str) -> None:
    """An item that was given back between two attempts has all of them again."""
    left: list[Exception] = [ValueError("first"), StopRun("no use"), ValueError("second"), ValueError("third")]

    def act(stage: str, item_id: Any) -> None:
        raise left.pop(0)

    bank = Bank(store_url, act)
    with pytest.raises(StopRun):
        bank.pipeline(retry=SOON).run([1])
    assert bank.pipeline(retry=SOON).run([1]).failed == 1
    assert left == []
    assert sorted((row.attempt, row.final) for row in rows(store_url, FAILURES)) == [(1, False), (1, False), (2, True)]


class Renamed:
    """What a stage returns."""


def test_when_a_class_has_its_old_name_again_its_items_can_be_requeued(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was pickled can be read then; no call that had returned is made again."""
    made: list[int] = []

    def make(item_id: int) -> Renamed:
        made.append(item_id)
        return Renamed()

    def check(value: object) -> Any:
        if stops:
            raise StopRun("no use")
        return {"kind": type(value).__name__}

    def pipeline() -> Pipeline:
        return Pipeline(Stage("make", make), Stage("check", check), sink=DatabaseSink(store_url), store=RunStore())

    stops = True
    with pytest.raises(StopRun):
        pipeline().run([1])
    stops = False
    with monkeypatch.context() as without:
        without.delattr(sys.modules[__name__], "Renamed")
        assert pipeline().run([1]).failed == 1
    assert "Renamed" in rows(store_url, FAILURES)[0].text
    with opened(store_url) as engine, change(engine) as connection:
        assert requeue(connection, run(connection), stage=None, ids=None) == 1
    report = pipeline().run([1])
    assert (report.written, made) == (1, [1])


def test_what_a_call_used_that_timed_out_is_kept(store_url: str) -> None:
    """It was paid for."""
    may_return = threading.Event()

    def hang(item_id: int) -> Any:
        record_usage(Usage(prompt_tokens=3, cost=0.5))
        return may_return.wait(LIMIT)

    stage = Stage("hang", hang, timeout=0.02)
    report = Pipeline(stage, sink=DatabaseSink(store_url), store=RunStore()).run([1])
    may_return.set()
    assert (report.failed, report.usage.cost) == (1, 0.5)
    assert [(row.prompt_tokens, row.cost) for row in rows(store_url, USAGE)] == [(3, 0.5)]


def test_each_of_several_workers_may_spend_what_was_left_when_it_started(postgres_url: str) -> None:
    """The limit is not shared: as the guide says, each is to be given its part."""
    both = threading.Barrier(2, timeout=LIMIT)
    errors: list[BudgetSpent] = []

    def work() -> None:
        waits = [both.wait]

        def act(stage: str, item_id: Any) -> None:
            if stage == "answering":
                for wait in waits:  # until the other one has started, too
                    wait()
                waits.clear()
                record_usage(Usage(cost=1.0))

        with pytest.raises(BudgetSpent) as raised:
            Bank(postgres_url, act).pipeline(strategy="per_item", concurrency=1, max_cost=2.0).run(range(20))
        errors.append(raised.value)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(LIMIT)
    assert [error.spent for error in errors] == [2.0, 2.0]
    assert sum(row.cost for row in rows(postgres_url, USAGE)) == 4.0
