"""Sinks of users: what an item counts as, what an error does, and when they are closed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, Block, counts
from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe import Outcome, Pipeline, RunStore, Sink, Stage
from rxpipe import operators as ops
from rxpipe.pipeline.plan import Scheduler


class Shelf:
    """Keeps values by ID, in batches on a worker thread."""

    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}
        self.states: list[str] = []

    def open(self) -> Any:
        self.states.append("open")
        return self._write

    def _write(self, outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
        closing = rx_ops.finally_action(lambda: self.states.append("closed"))
        return outcomes.pipe(ops.batch(3, 0.0), ops.stage(self._commit), ops.unbatch(), closing)

    def _commit(self, outcomes: list[Outcome[Any]]) -> list[Outcome[Any]]:
        return [self._keep(outcome) for outcome in outcomes]

    def _keep(self, outcome: Outcome[Any]) -> Outcome[Any]:
        if outcome.value == "poison":
            raise OSError("the shelf is broken")
        if outcome.value is None:
            return replace(outcome, status="failed", error=ValueError("nothing"), stage="shelf")
        self.kept[outcome.id] = outcome.value
        return outcome


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_item_counts_as_what_comes_out(scheduler: Scheduler) -> None:
    """And the sink is closed before the run is over."""
    shelf = Shelf()
    sink: Sink = shelf
    report = Pipeline(Stage("a", {1: "x", 2: None, 3: "y"}.get), sink=sink, scheduler=scheduler).run([1, 2, 3])
    assert counts(report) == (3, 2, 1, 0)
    assert shelf.kept == {1: "x", 3: "y"}
    assert shelf.states == ["open", "closed"]
    assert report.errors[0].stage == "shelf"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_error_ends_the_run(scheduler: Scheduler) -> None:
    """As it was raised; and closes the sink."""
    shelf = Shelf()
    with pytest.raises(OSError, match="the shelf is broken"):
        Pipeline(Stage("a", lambda value: "poison"), sink=shelf, scheduler=scheduler).run(range(100))
    assert shelf.states == ["open", "closed"]


def test_an_abort_closes_it() -> None:
    """Before the run is over."""
    shelf, block = Shelf(), Block()
    run = Pipeline(Stage("a", block), sink=shelf).start([1, 2])
    block.wait_for(1)
    run.abort()
    block.may_return.set()
    run.finished.result(LIMIT)
    assert shelf.states == ["open", "closed"]


def test_not_beside_a_store(tmp_path: Any) -> None:
    """And what to do instead."""
    with pytest.raises(TypeError, match="to write elsewhere, do it in a last stage"):
        Pipeline(Stage("a", str), sink=Shelf(), store=RunStore(database=f"sqlite:///{tmp_path}/a.db"))
