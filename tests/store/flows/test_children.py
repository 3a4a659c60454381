"""Children of lists and iterators, with a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from rxpipe import Record
from rxpipe.operators import Retry

from .runs import Runs, stage


def in_list(value: int) -> list[int]:
    return [10 * value, 10 * value + 1, 10 * value + 2]


def in_generator(value: int) -> Iterator[int]:
    yield from in_list(value)


async def in_async_generator(value: int) -> AsyncIterator[int]:
    for one in in_list(value):
        yield one


KINDS = [in_list, in_generator, in_async_generator]


@pytest.mark.parametrize("make", KINDS)
def test_children_are_written_and_their_parent_ends(runs: Runs, make: Callable[[int], Any]) -> None:
    """A later run has nothing to do."""
    pipeline = runs.pipeline(stage("split", make, expand=True), stage("work", str))
    report = pipeline.run([1])
    assert (report.taken, report.spawned, report.written, report.expanded) == (1, 3, 3, 1)
    assert runs.states() == {"1": "expanded", "1/0": "written", "1/1": "written", "1/2": "written"}
    assert runs.written() == {"1/0": "10", "1/1": "11", "1/2": "12"}
    assert runs.numbers() == {"1/0": 0, "1/1": 1, "1/2": 2}
    assert pipeline.run([1]).taken == 0


def test_a_list_is_kept_with_its_parent(runs: Runs) -> None:
    """When a child is called with, all of them are there, and the parent is not called again."""
    first = [True]

    def work(value: int) -> int:
        if first[0]:
            runs.cut_when(lambda states: states["1"] == "expanded")
        return value

    stages = stage("split", runs.noted("split", in_list), expand=True), stage("work", runs.noted("work", work))
    runs.die(runs.pipeline(*stages), [1])
    assert runs.states() == {"1": "expanded", "1/0": "ready", "1/1": "ready", "1/2": "ready"}
    first[0] = False
    assert runs.pipeline(*stages).run([1]).written == 3
    assert runs.called("split") == [1]
    assert runs.written() == {"1/0": 10, "1/1": 11, "1/2": 12}


@pytest.mark.parametrize("kind", ["generator", "async generator"])
@pytest.mark.parametrize("collects", [False, True])
def test_an_iterator_that_died_half_way(runs: Runs, kind: str, *, collects: bool) -> None:
    """No child is lost and none is made twice, whoever has the children that there are."""
    first = [True]

    def wait() -> None:
        if first[0]:
            runs.cut_when(lambda states: "1/1" in states)

    def split(value: int) -> Iterator[int]:
        yield from (10, 11)
        wait()
        yield from (12, 13)

    async def split_later(value: int) -> AsyncIterator[int]:
        for one in split(value):
            yield one

    last = stage("last", lambda value: sorted(value.values) if collects else value, collect=collects)
    make: Any = split if kind == "generator" else split_later
    stages = stage("split", make, expand=True), stage("work", runs.noted("work", int)), last
    runs.die(runs.pipeline(*stages), [1])
    first[0] = False
    assert runs.pipeline(*stages).run([1]).finished
    end = "collected" if collects else "written"
    assert runs.states() == {"1": "written" if collects else "expanded"} | {f"1/{number}": end for number in range(4)}
    if collects:
        assert runs.written() == {"1": [10, 11, 12, 13]}


def test_another_attempt_goes_on_behind_the_children_of_the_first(runs: Runs) -> None:
    """Those of a generator that has failed stay."""
    attempts: list[int] = []

    def split(value: int) -> Iterator[int]:
        attempts.append(value)
        yield from (10, 11)
        if len(attempts) < 2:
            raise ValueError
        yield 12

    retry = Retry(max_attempts=2, initial=0.001)
    report = runs.pipeline(stage("split", split, expand=True, retry=retry), stage("work", str)).run([1])
    assert (report.spawned, report.written) == (3, 3)


@pytest.mark.parametrize("collects", [False, True])
def test_an_item_with_two_families(runs: Runs, *, collects: bool) -> None:
    """The second one's IDs go on behind those of the first, and an interrupted second one begins behind the first."""
    first = [True]

    def again(value: int) -> Iterator[int]:
        yield value
        if first[0]:
            runs.cut_when(lambda states: "1/3" in states)
        yield value + 1

    stages = [
        stage("split", runs.noted("split", in_list), expand=True),
        stage("merge", runs.noted("merge", lambda value: sum(value.values)), collect=True),
        stage("again", again, expand=True),
        stage("work", int),
    ]
    if collects:
        stages.append(stage("end", lambda value: value.values, collect=True))
    runs.die(runs.pipeline(*stages), [1])
    first[0] = False
    assert runs.pipeline(*stages).run([1]).finished
    assert runs.numbers() == {f"1/{number}": number for number in range(5)}
    assert runs.written() == ({"1": [33, 34]} if collects else {"1/3": 33, "1/4": 34})
    assert runs.called("split") == [1]
    assert len(runs.called("merge")) == 1


def test_ids_that_are_taken_fail_alone(runs: Runs) -> None:
    """By another child of the same list, by one of another parent, by the parent, or by an item of the source."""

    def split(value: int) -> list[Any]:
        return [Record(one, value) for one in ("a", "a", "b", "1", "2")] if value == 1 else [Record("b", value)]

    report = runs.pipeline(stage("split", split, expand=True), stage("work", int), concurrency=1).run([2, 1])
    assert (report.spawned, report.written, report.failed) == (6, 2, 4)
    assert runs.states() == {"1": "expanded", "2": "expanded", "a": "written", "b": "written"}


def test_a_child_that_cannot_be_kept_fails_alone(runs: Runs) -> None:
    """And large ones are kept."""
    large = "x" * 1_000_001
    report = runs.pipeline(
        stage("split", lambda value: [large, iter([1]), large], expand=True), stage("work", len)
    ).run([1])
    assert (report.written, report.failed) == (2, 1)
    assert runs.states() == {"1": "expanded", "1/0": "written", "1/1": "failed", "1/2": "written"}
    assert runs.written() == {"1/0": len(large), "1/2": len(large)}


def test_the_row_of_a_parent_is_written_with_its_last_child(runs: Runs) -> None:
    """Not when the children have ended, which may be in another run."""
    first = [True]

    def work(value: int) -> int:
        if first[0]:
            runs.cut_when(lambda states: states["1"] == "expanded")
        return value

    stages = stage("split", in_list, expand=True), stage("work", work)
    rows = "written", "failed", "expanded"
    runs.die(runs.pipeline(*stages, rows=rows), [1])
    first[0] = False
    runs.pipeline(*stages, rows=rows).run([1])
    assert set(runs.rows()) == {("1", "expanded"), ("1/0", "written"), ("1/1", "written"), ("1/2", "written")}
