"""Rows of items that end again, this time without a row."""

from __future__ import annotations

from typing import Any

import pytest

from rxpipe import DatabaseSink, Drop, Pipeline, Record
from rxpipe.database import default_table

from .runs import Runs, stage


def as_it_is(value: Any) -> Any:
    """All are written."""
    return value


def drop_odd(value: int) -> int | Drop:
    """Odd ones are dropped."""
    return Drop("odd") if value % 2 else value


def fail_odd(value: int) -> int:
    """Odd ones fail."""
    if value % 2:
        raise ValueError("odd")
    return value


def split(value: int) -> list[int]:
    """As many children."""
    return list(range(value))


@pytest.mark.parametrize("how", ["resume", "fresh"])
def test_an_item_that_is_dropped_now(runs: Runs, how: str) -> None:
    """Its row is deleted; the others stay."""
    assert runs.pipeline(stage("work", as_it_is)).run(range(4)).written == 4
    options: dict[str, Any] = {"resume": True} if how == "resume" else {"store": {"fresh": True}}
    assert runs.pipeline(stage("work", drop_odd), **options).run(range(4)).dropped == 2
    assert set(runs.written()) == {"0", "2"}


def test_an_item_that_fails_now(runs: Runs) -> None:
    """Where only written items have rows."""
    assert runs.pipeline(stage("work", as_it_is)).run(range(4)).written == 4
    assert runs.pipeline(stage("work", fail_odd), resume=True, rows=["written"]).run([]).failed == 2
    assert set(runs.written()) == {"0", "2"}


def test_an_item_that_is_expanded_now(runs: Runs) -> None:
    """Its children have rows instead of it."""
    runs.pipeline(stage("work", as_it_is)).run([2])
    runs.pipeline(stage("work", split, expand=True), stage("more", as_it_is), resume=True).run([2])
    assert set(runs.written()) == {"2/0", "2/1"}


@pytest.mark.parametrize("how", ["resume", "redo"])
def test_children_that_are_not_made_again(runs: Runs, how: str) -> None:
    """Their rows go with them; those of others stay."""
    stages = stage("split", split, expand=True), stage("work", as_it_is)
    runs.pipeline(*stages, store={"on_change": "redo"}).run([Record("a", 3), Record("b", 2)])
    if how == "resume":
        fewer = stage("split", lambda value: split(value - 1), expand=True), stage("work", as_it_is)
        runs.pipeline(*fewer, resume=True).run([])
        assert set(runs.written()) == {"a/0", "a/1", "b/0"}
    else:
        runs.pipeline(*stages, store={"on_change": "redo"}).run([Record("a", 1), Record("b", 2)])
        assert set(runs.written()) == {"a/0", "b/0", "b/1"}


def test_without_a_store(runs: Runs) -> None:
    """It is the same."""
    for call in as_it_is, drop_odd:
        Pipeline(stage("work", call), sink=DatabaseSink(runs.url), name="plain").run(range(4))
    assert set(runs.written()) == {"0", "2"}


def test_a_table_of_ones_own(runs: Runs) -> None:
    """Nothing is deleted, as a row may have been there before rxpipe filled it."""
    table = default_table("results")
    for call in as_it_is, drop_odd:
        Pipeline(stage("work", call), sink=DatabaseSink(runs.url, table=table), name="plain").run(range(4))
    assert set(runs.written()) == {"0", "1", "2", "3"}
