"""Pipelines that are run inside others: in a call, in an operator, in an observer."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, SCHEDULERS, same
from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe import Pipeline, Stage, from_iterable
from rxpipe import operators as ops
from rxpipe.pipeline.plan import Scheduler


def runs_of(inner: Pipeline) -> Any:
    def run(value: int) -> int:
        return inner.run([value] * 3).written

    return run


def values_of(source: Observable[Any]) -> list[Any]:
    """All values, subscribed to on this thread; or what it failed with."""
    values, errors, over = list[Any](), list[Exception](), threading.Event()

    def fail(error: Exception) -> None:
        errors.append(error)
        over.set()

    source.subscribe(values.append, fail, over.set)
    assert over.wait(LIMIT)
    assert errors == []
    return values


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_call_may_run_a_pipeline(scheduler: Scheduler) -> None:
    """Its worker waits, and others do the work."""
    inner = Pipeline(Stage("s", same), Stage("t", same), scheduler=scheduler)
    outer = Pipeline(Stage("run", runs_of(inner), concurrency=4))
    assert {outcome.value for outcome in outer.outcomes(range(20)).pipe(rx_ops.to_list()).run()} == {3}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_operator_below_a_source_may_run_a_pipeline(scheduler: Scheduler) -> None:
    """Though the source emits from the trampoline of its thread, which would keep the inner source waiting."""
    inner = Pipeline(Stage("s", same), scheduler=scheduler)
    assert values_of(from_iterable(range(3)).pipe(rx_ops.map(runs_of(inner)))) == [3] * 3


def test_an_observer_of_flat_mapped_stages_may_run_a_pipeline() -> None:
    """Whichever thread notifies it, in a trampoline or not."""
    inner = Pipeline(Stage("s", same))

    def twice(value: int) -> Observable[int]:
        return reactivex.merge(from_iterable([value]).pipe(ops.stage(same)), reactivex.of(value))

    chain = from_iterable(range(20)).pipe(ops.stage(same, concurrency=3), rx_ops.flat_map(twice))
    assert values_of(chain.pipe(rx_ops.map(runs_of(inner)))) == [3] * 40


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_an_inner_run_fails_with_is_raised_there(scheduler: Scheduler) -> None:
    """Also from the trampoline."""
    inner = Pipeline(Stage("s", same), scheduler=scheduler)
    failed: list[str] = []

    def run(value: int) -> None:
        try:
            inner.run(reactivex.throw(ValueError("source")))
        except ValueError as error:
            failed.append(str(error))

    values_of(from_iterable(range(2)).pipe(rx_ops.map(run)))
    assert failed == ["source"] * 2
