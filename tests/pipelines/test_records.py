"""Records: IDs with data, and where they come from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, WAYS, Seen, counts, finish, run_virtually, same, step

from rxpipe import ConfigError, Pipeline, Record, content_id, from_records
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy

ROWS = [{"id": number, "text": str(number)} for number in range(3)]


@dataclass
class Row:
    id: int


async def rows_later() -> AsyncIterator[dict[str, Any]]:
    for row in ROWS:
        yield row


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_the_first_stage_gets_the_value(strategy: Strategy, scheduler: Scheduler) -> None:
    """The outcome has the ID; bare IDs may come between records."""
    ended: dict[Any, Any] = {}
    pipeline = Pipeline(
        step("a", lambda value: ended.setdefault(str(value), value)), strategy=strategy, scheduler=scheduler
    )
    assert counts(pipeline.run([Record("x", {"a": 1}), 2, Record(3, None)])) == (3, 3, 0, 0)
    assert ended == {"{'a': 1}": {"a": 1}, "2": 2, "None": None}


def doubled(row: Any) -> str:
    return str(row["text"]) * 2


@pytest.mark.parametrize("kind", ["list", "iterator", "async", "observable"])
def test_rows_of_every_kind(kind: str) -> None:
    """One by one, as they are asked for."""
    rows: dict[str, Any] = {
        "list": ROWS,
        "iterator": iter(ROWS),
        "async": rows_later(),
        "observable": reactivex.from_iterable(ROWS),
    }
    seen = Seen()
    records: dict[str, Any] = {kind: from_records(rows[kind], id="id")}
    finish(Pipeline(step("a", lambda row: row["text"])).start(records[kind], seen))
    assert {one.id: one.value for one in seen.outcomes} == {0: "0", 1: "1", 2: "2"}


def test_the_id_is_a_key_an_attribute_or_made() -> None:
    """By name, or by a function."""
    assert [one.id for one in from_records(ROWS, id=doubled)] == ["00", "11", "22"]
    assert [one.id for one in from_records([Row(5)], id="id")] == [5]
    records = from_records(ROWS, id="id")
    assert (len(records), Record(0, ROWS[0]) in records) == (3, True)


@pytest.mark.parametrize("rows", [[{"id": 1}, {"other": 2}], [Row(1), 3]], ids=repr)
def test_a_row_without_an_id_ends_the_source(rows: list[Any]) -> None:
    """Those before it are finished."""
    run = Pipeline(step("a", same)).start(from_records(rows, id="id"))
    with pytest.raises(ConfigError, match="a row has no 'id' to be its ID"):
        run.finished.result(LIMIT)
    assert run.written == 1


@pytest.mark.parametrize("wrong", [None, True, [1], Record(1, 2)], ids=repr)
def test_the_id_of_a_record_is_checked(wrong: Any) -> None:
    """As one that comes without data."""
    with pytest.raises(ConfigError, match="an ID must be an int or a str"):
        Pipeline(step("a", same)).run([Record(wrong, 1)])


def test_equal_content_has_one_id() -> None:
    """Whatever the order of keys; what is no JSON has none."""
    assert content_id({"a": 1, "b": [2]}) == content_id({"b": [2], "a": 1})
    assert len(content_id("a")) == 32
    assert content_id("1") != content_id(1)
    with pytest.raises(ConfigError, match="content of JSON only"):
        content_id({1, 2})


def test_records_are_submitted() -> None:
    """With the ID and the value, or as records; one that is on its way already keeps its value."""
    with Pipeline(step("a", lambda value: value)).open() as running:
        assert running.submit(17, {"a": 1}).result(LIMIT).value == {"a": 1}
        assert running.submit(Record("x", 2)).result(LIMIT).value == 2
        assert running.submit_nowait(18, None).result(LIMIT).value is None
        assert running.submit(19).result(LIMIT).value == 19
        with pytest.raises(ConfigError, match="an ID must be"):
            running.submit(None, 3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]


def test_two_with_one_id_are_two_items() -> None:
    """Each ends as itself."""
    seen = Seen()
    run_virtually(Pipeline(step("a", same)), [Record(1, "a"), Record(1, "b")], seen)
    assert sorted(one.value for one in seen.outcomes) == ["a", "b"]
