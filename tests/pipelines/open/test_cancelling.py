"""Submissions that are cancelled: their calls end, and nobody else is disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_helpers import SCHEDULERS, counts

from rxpipe import Pipeline, Retry, Stage
from rxpipe.errors import ItemCancelled
from rxpipe.pipeline.plan import Scheduler

from .opened import Door, into_database, on_loop, rows, until


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cancelling_a_submission_cancels_its_call(scheduler: Scheduler) -> None:
    """The item ends as cancelled, and takes up no room; no other is disturbed."""
    door = Door()

    async def main() -> None:
        async with Pipeline(Stage("door", door.coroutine, concurrency=2), scheduler=scheduler).open() as running:
            first, second = running.submit(1), running.submit(2)
            await until(lambda: door.calls.total() == 2)
            assert first.cancel()
            outcome = await first
            assert (outcome.status, outcome.stage, outcome.attempts) == ("cancelled", "door", 1)
            assert isinstance(outcome.error, ItemCancelled)
            assert not first.cancel()
            await until(lambda: door.cut_off == [1])
            door.open()
            assert (await second).status == "written"
            assert running.health().held == 0
        assert counts(running.report()) == (2, 1, 0, 1)
        (stage,) = running.report().stages
        assert (stage.done, stage.failed) == (1, 0)

    on_loop(main())


def test_cancelling_what_waits_for_another_attempt() -> None:
    """It does not wait for its time."""
    calls: list[int] = []

    def fail(value: int) -> int:
        calls.append(value)
        raise ValueError

    async def main() -> None:
        stage = Stage("fail", fail, retry=Retry(initial=3600, max_delay=3600))
        async with Pipeline(stage, scheduler="asyncio").open() as running:
            submission = running.submit(1)
            await until(lambda: running.report().stages[0].retried == 1)
            assert submission.cancel()
            assert (await submission).status == "cancelled"
        assert calls == [1]

    on_loop(main())


@pytest.mark.parametrize("capacity", [1, 20])
def test_cancelling_what_waits(capacity: int) -> None:
    """Whether in the stage's queue or for room: no call is made with it."""
    door = Door()

    async def main() -> None:
        stage = Stage("door", door.coroutine, concurrency=1)
        async with Pipeline(stage, scheduler="asyncio").open(capacity=capacity) as running:
            submissions = [running.submit(number) for number in range(4)]
            await door.calls_made(1)
            assert submissions[2].cancel()
            door.open()
            outcomes = [await one for one in submissions]
            assert [outcome.status for outcome in outcomes] == ["written", "written", "cancelled", "written"]
        assert sorted(door.calls) == [0, 1, 3]

    on_loop(main())


def test_cancelling_one_of_two() -> None:
    """The other still wants it."""
    door = Door()

    async def main() -> None:
        async with Pipeline(Stage("door", door.coroutine), scheduler="asyncio").open() as running:
            first, second = running.submit(1), running.submit(1)
            await door.calls_made(1)
            assert first.cancel()
            assert (await first).status == "cancelled"
            assert not first.cancel()
            door.open()
            assert (await second).status == "written"
        assert (door.calls[1], door.cut_off) == (1, [])

    on_loop(main())


def test_a_cancelled_item_of_a_durable_run(tmp_path: Path) -> None:
    """It is a dead letter, and is not called with again; its row says so."""
    door = Door()

    async def main() -> None:
        async with into_database(tmp_path, Stage("door", door.coroutine, version=1)).open() as running:
            submission = running.submit(1)
            await door.calls_made(1)
            submission.cancel()
            assert (await submission).status == "cancelled"
        assert rows(tmp_path) == {"1": "cancelled"}
        async with into_database(tmp_path, Stage("door", door.coroutine, version=1)).open() as running:
            again = await running.submit(1)
            assert (again.status, str(again.error)) == ("failed", "ItemCancelled: cancelled by whoever submitted it")
        assert door.calls[1] == 1

    on_loop(main())
