"""Runs that are stopped from inside, with a store: what was given back is ready again, and the same run goes on."""

from __future__ import annotations

from typing import Any

import pytest
from pipeline_helpers import counts, until

from rxpipe import Retry, StopRun, Usage, record_usage
from rxpipe.errors import BudgetSpent
from rxpipe.store.queries.history import run
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, USAGE

from .bank import Bank, nothing, rows, states
from .stores import looking

WAYS = [("per_stage", "threads"), ("per_stage", "asyncio"), ("per_item", "threads"), ("per_item", "asyncio")]


def costly(stage: str, item_id: Any) -> None:
    """Answering costs one."""
    if stage == "answering":
        record_usage(Usage(completion_tokens=1, cost=1.0))


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_what_was_refused_is_ready_again(store_url: str, strategy: Any, scheduler: Any) -> None:
    """At the stage where it was: no failure is noted, and no attempt is counted."""
    bank = Bank(store_url, costly)
    with pytest.raises(BudgetSpent):
        bank.pipeline(strategy=strategy, scheduler=scheduler, concurrency=1, max_cost=3.0).run(range(50))
    assert rows(store_url, FAILURES) == []
    assert len(rows(store_url, USAGE)) == 3
    found = rows(store_url, ITEMS)
    assert {row.state for row in found} == {"written", "ready"}
    assert [row.stage for row in found if row.state == "written"] == [3, 3, 3]
    waiting = [row for row in found if row.state == "ready"]
    assert waiting
    assert {(row.attempts, row.stage, row.failures, row.crashes) for row in waiting} <= {(1, 1, 0, 0), (0, 0, 0, 0)}
    with looking(store_url) as connection:
        one = run(connection)
    assert (one.state, one.usage.cost) == ("unfinished", 3.0)


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_the_same_with_a_higher_limit_goes_on(store_url: str, strategy: Any, scheduler: Any) -> None:
    """With what was spent before; no call that had returned is made again."""
    bank = Bank(store_url, costly)
    ways: dict[str, Any] = {"strategy": strategy, "scheduler": scheduler, "concurrency": 1}
    with pytest.raises(BudgetSpent):
        bank.pipeline(**ways, max_cost=3.0).run(range(10))
    with pytest.raises(BudgetSpent) as refused:
        bank.pipeline(**ways, max_cost=3.0).run(range(10))
    assert refused.value.spent == 3.0
    assert len(bank.called("answering")) == 3
    with pytest.raises(BudgetSpent):
        bank.pipeline(**ways, max_cost=5.0).run(range(10))
    assert len(bank.called("answering")) == 5
    report = bank.pipeline(**ways, max_cost=10.0).run(range(10))
    assert (report.written + report.written_before, report.usage.cost, report.usage_before.cost) == (10, 5.0, 5.0)
    assert report.finished
    assert set(bank.calls.values()) == {1}


def test_the_same_with_the_same_limit_spends_nothing(store_url: str) -> None:
    """Though not all was spent: what a call costs is known, whoever made those before."""
    bank = Bank(store_url, costly)
    with pytest.raises(BudgetSpent):
        bank.pipeline(concurrency=1, max_cost=3.5).run(range(50))
    with pytest.raises(BudgetSpent):
        bank.pipeline(concurrency=4, max_cost=3.5).run(range(50))
    assert len(bank.called("answering")) == 3


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
@pytest.mark.parametrize("every", [True, False])
def test_a_function_stops_the_run(store_url: str, every: bool, strategy: Any, scheduler: Any) -> None:
    """What it was called with is nobody's, and no failure; the same command goes on."""

    def act(stage: str, item_id: Any) -> None:
        if stage == "answering" and (every or item_id == 3):
            raise StopRun("no credit is left")

    bank = Bank(store_url, act)
    retry = Retry(max_attempts=3, initial=0.001, max_delay=0.001)
    with pytest.raises(StopRun, match="no credit"):
        bank.pipeline(retry=retry, strategy=strategy, scheduler=scheduler).run(range(20))
    assert rows(store_url, FAILURES) == []
    assert set(states(store_url).values()) == ({"ready"} if every else {"ready", "written"})
    assert states(store_url)["0" if every else "3"] == "ready"
    bank.act = nothing
    report = bank.pipeline(strategy=strategy, scheduler=scheduler).run(range(20))
    assert report.written + report.written_before == 20
    assert report.failed == report.failed_before == 0
    assert bank.called("generation") == sorted(range(20), key=str)


def test_an_attempt_that_failed_before_stays_noted(store_url: str) -> None:
    """And the one that was refused is none."""

    def act(stage: str, item_id: Any) -> None:
        record_usage(Usage(cost=1.0))
        raise ValueError("no sense")

    retry = Retry(max_attempts=9, initial=0.001, max_delay=0.001)
    with pytest.raises(BudgetSpent):
        Bank(store_url, act).pipeline(retry=retry, max_cost=2.0).run([1])
    assert sorted((row.attempt, row.final, row.type) for row in rows(store_url, FAILURES)) == [
        (1, False, "ValueError"),
        (2, False, "ValueError"),
    ]
    assert states(store_url) == {"1": "ready"}


def test_the_last_worker_of_a_halted_run_leaves_nothing_behind(store_url: str) -> None:
    """What had returned is kept, and what had not is the next one's."""

    def act(stage: str, item_id: Any) -> None:
        if stage == "grading":
            until(lambda: len(bank.called("answering")) == 8)  # all are taken by then
            raise StopRun

    bank = Bank(store_url, act)
    with pytest.raises(StopRun):
        bank.pipeline().run(range(8))
    taken = len(states(store_url))
    assert len(rows(store_url, CHECKPOINTS)) == 2 * taken
    with looking(store_url) as connection:
        one = run(connection)
    assert (one.state, one.ready, one.workers, one.finished_at) == ("unfinished", taken, 0, None)
    bank.act = nothing
    assert counts(bank.pipeline().run(range(8))) == (8, 8, 0, 0)
