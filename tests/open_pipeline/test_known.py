"""IDs that a durable run knows: what has ended is not done again, what was left goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opened import Door, into_database, on_loop, refuse_odd, until

from rxpipe import Stage


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
