"""IDs that a durable run knows: what has ended is not done again, what was left goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import same

from rxpipe import Stage

from .opened import Door, into_database, on_loop, refuse_odd, until


def test_what_has_ended_before_is_not_done_again(tmp_path: Path) -> None:
    """A durable run gives the outcome that it had, with the value, in this process and in the next."""
    calls: list[int] = []

    def call(value: int) -> int:
        calls.append(value)
        return refuse_odd(value)

    async def submit(*ids: int) -> Iterator[tuple[str, Any]]:
        async with into_database(tmp_path, Stage("odd", call, version=1)).open() as running:
            heard: list[Any] = []
            running.outcomes.subscribe(heard.append)
            outcomes = await asyncio.gather(*(running.submit(one) for one in ids))
            assert sorted(outcome.id for outcome in heard) == sorted(ids)
        return iter([(outcome.status, outcome.value) for outcome in outcomes])

    expected = [("written", 20), ("failed", 3)]
    assert list(on_loop(submit(2, 3))) == expected
    assert list(on_loop(submit(2, 3, 4))) == [*expected, ("written", 40)]
    assert sorted(calls) == [2, 3, 4]


def test_what_another_worker_left_is_taken_over(tmp_path: Path) -> None:
    """Submitted or not, it goes on; and whoever submits it hears of it."""
    door, opened = Door(), Door(is_open=True)

    async def begin() -> None:
        async with into_database(tmp_path, Stage("door", door.coroutine, version=1)).open(grace=0) as running:
            for number in (1, 2):
                running.submit(number)
            await door.calls_made(2)

    async def go_on() -> None:
        async with into_database(tmp_path, Stage("door", opened.coroutine, version=1)).open() as running:
            heard: list[Any] = []
            running.outcomes.subscribe(lambda outcome: heard.append(outcome.id))
            assert (await running.submit(1)).status == "written"
            await until(lambda: sorted(heard) == [1, 2])
        assert opened.calls == {1: 1, 2: 1}

    on_loop(begin())
    on_loop(go_on())


@pytest.mark.slow
def test_the_same_id_as_a_number_and_as_a_text(tmp_path: Path) -> None:
    """To the store it is one; each of the two submissions gets its outcome."""

    async def main() -> None:
        async with into_database(tmp_path, Stage("same", same, version=1)).open() as running:
            for _ in range(2):
                first, second = running.submit(1), running.submit("1")
                assert [((await one).status, (await one).id) for one in (first, second)] == [
                    ("written", 1),
                    ("written", "1"),
                ]
        assert running.report().taken == 1

    on_loop(main())


def test_what_is_taken_over_is_published_once(tmp_path: Path) -> None:
    """Though it was also asked for: as an item of this process, not as one that was known, too."""
    door, opened = Door(), Door(is_open=True)

    async def begin() -> None:
        async with into_database(tmp_path, Stage("door", door.coroutine, version=1)).open(grace=0) as running:
            running.submit(1)
            await door.calls_made(1)

    async def go_on() -> None:
        async with into_database(tmp_path, Stage("door", opened.coroutine, version=1)).open() as running:
            heard: list[Any] = []
            running.outcomes.subscribe(lambda outcome: heard.append(outcome.id))
            assert (await running.submit(1)).status == "written"
            assert (await running.submit(1)).status == "written"  # known by now
            await running.submit(2)
        assert heard == [1, 1, 2]

    on_loop(begin())
    on_loop(go_on())


@pytest.mark.slow
def test_what_an_earlier_process_left_is_not_waited_for(tmp_path: Path) -> None:
    """However much it is: who submits has a turn, and closing leaves the rest to the next process."""
    stage = Stage("same", same, concurrency=1, queue_size=1, version=1)
    into_database(tmp_path, stage, scheduler="threads").run([0])
    with closing(sqlite3.connect(tmp_path / "questions.db")) as connection, connection:
        columns = "run_id, is_integer, stage, fence, attempts, failures, crashes"
        connection.execute(
            "with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < 10000) "
            f"insert into rxpipe_items (item_key, seq, state, {columns}) "
            "select n, n, 'ready', run_id, is_integer, 0, fence, 0, 0, 0 from numbers, rxpipe_items"
        )

    async def main() -> None:
        async with into_database(tmp_path, stage).open() as running:
            assert (await running.submit(-1)).status == "written"
            taken = running.report().taken
            submission = running.submit(-2)
        assert submission.result().status == "written"
        assert taken < 2000
        assert running.report().taken < 4000

    on_loop(main())


@pytest.mark.parametrize(
    "refused", ["x" * 300, "a\0b", "\ud800", 10**300, 10**5000], ids=["long", "NUL", "surrogate", "number", "huge"]
)
def test_an_id_that_the_store_refuses(tmp_path: Path, refused: int | str) -> None:
    """It fails by itself, and no other is disturbed."""

    async def main() -> None:
        async with into_database(tmp_path, Stage("same", same, version=1)).open() as running:
            bad, good = running.submit(refused), running.submit(1)
            assert ((await bad).status, (await good).status) == ("failed", "written")

    on_loop(main())
