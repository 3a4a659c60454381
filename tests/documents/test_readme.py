"""What the README says of its examples."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pipeline_helpers import LIMIT, Block, until

from rxpipe import DatabaseSink, Pipeline, Stage, from_iterable
from rxpipe import operators as ops


def test_subscribing_returns_at_once_and_run_gives_the_last_value() -> None:
    """Of a chain of stages."""
    block = Block()
    graded = from_iterable(range(5)).pipe(ops.stage(block, concurrency=5), ops.stage(str))
    got: list[str] = []
    over = threading.Event()
    graded.subscribe(got.append, on_completed=over.set)
    assert got == []
    block.may_return.set()
    assert over.wait(LIMIT)
    assert sorted(got) == list("01234")
    assert from_iterable(range(5)).pipe(ops.stage(str)).run() == "4"


@pytest.mark.parametrize("strategy", ["per_stage", "per_item"])
def test_the_first_row_is_committed_while_other_items_are_in_the_first_stage(strategy: Any, tmp_path: Any) -> None:
    """After one question's latency, not after that of all."""
    block = Block(only=range(1, 10))
    pipeline = Pipeline(
        Stage("generation", block),
        Stage("answering", str),
        sink=DatabaseSink(f"sqlite:///{tmp_path / 'q.db'}"),
        strategy=strategy,
    )
    run = pipeline.start(range(10))
    until(lambda: run.written == 1)
    block.wait_for(3)
    assert run.stages[0].done == 1
    block.may_return.set()
    assert run.finished.result(LIMIT).written == 10


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
@pytest.mark.parametrize("strategy", ["per_stage", "per_item", "staged"])
def test_plain_and_coroutine_functions_work_everywhere(strategy: Any, scheduler: Any) -> None:
    """Also one behind the other."""

    async def answer(value: Any) -> Any:
        return value + 1

    def grade(value: Any) -> Any:
        return value * 2

    stages: list[Callable[[Any], Any]] = [answer, grade, answer]
    pipeline = Pipeline(
        *(Stage(str(place), call) for place, call in enumerate(stages)), strategy=strategy, scheduler=scheduler
    )
    assert pipeline.run(range(20)).written == 20
