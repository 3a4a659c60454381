"""The end of a run: what is left waits for its commit no longer than it must."""

from __future__ import annotations

from typing import Any

import pytest
from pipeline_helpers import LIMIT, counts

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage

HOUR = 3600.0
WAYS = [("per_stage", "threads"), ("per_stage", "asyncio"), ("per_item", "threads"), ("per_item", "asyncio")]


def same(value: Any) -> Any:
    return value


def patient(url: str, **options: Any) -> Pipeline:
    """A pipeline whose rows may wait for an hour for others."""
    sink = DatabaseSink(url, max_items=10_000, max_seconds=HOUR)
    return Pipeline(Stage("a", same, version=1), Stage("b", same, version=1), sink=sink, store=RunStore(), **options)


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_the_last_rows_do_not_wait_for_others(store_url: str, strategy: Any, scheduler: Any) -> None:
    """As none will come."""
    assert counts(patient(store_url, strategy=strategy, scheduler=scheduler).run(range(100))) == (100, 100, 0, 0)


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_leaving_an_open_pipeline_does_not_wait_for_others(store_url: str, scheduler: Any) -> None:
    """Nor does anybody who has submitted before it is left."""
    with patient(store_url, scheduler=scheduler).open() as running:
        submissions = [running.submit(number) for number in range(20)]
    assert {submission.result(LIMIT).status for submission in submissions} == {"written"}
