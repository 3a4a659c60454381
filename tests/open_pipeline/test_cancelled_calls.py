"""Calls that end because their item was cancelled: nothing else may come of it."""

from __future__ import annotations

import asyncio

import pytest
from opened import Door, on_loop
from pipeline_helpers import SCHEDULERS

from rxpipe import Pipeline, Retry, Stage
from rxpipe.pipeline import Scheduler


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_threads_whose_calls_are_cancelled_do_not_end_the_pipeline(scheduler: Scheduler) -> None:
    """A stage without a timeout waits for the threads; others then go on."""
    door = Door()

    async def main() -> None:
        stage = Stage("door", door.plain, concurrency=2, max_abandoned=0)
        async with Pipeline(stage, scheduler=scheduler).open() as running:
            submissions = [running.submit(number) for number in range(2)]
            await door.calls_made(2)
            last = running.submit(2)
            for submission in submissions:
                assert submission.cancel()
            assert [(await one).status for one in submissions] == ["cancelled"] * 2
            assert not last.done()
            door.open()
            assert (await last).status == "written"

    on_loop(main())


def test_a_cancelled_coroutine_that_takes_its_time() -> None:
    """It has the only slot until it has cleaned up; then the next one has it."""
    cleaning, clean = asyncio.Event(), asyncio.Event()

    async def tidy(value: int) -> int:
        if value == 1:
            try:
                await door.coroutine(value)
            finally:
                cleaning.set()
                await clean.wait()
        return value

    door = Door()

    async def main() -> None:
        stage = Stage("tidy", tidy, concurrency=1)
        async with Pipeline(stage, scheduler="asyncio").open() as running:
            first, second = running.submit(1), running.submit(2)
            await door.calls_made(1)
            first.cancel()
            assert (await first).status == "cancelled"
            await cleaning.wait()
            for _ in range(100):
                await asyncio.sleep(0)
            clean.set()
            assert (await second).status == "written"

    on_loop(main())


def test_what_is_cancelled_is_not_tried_again() -> None:
    """Whatever the stage's own function says of errors: it is not asked."""
    door = Door()
    asked: list[BaseException] = []

    def always(error: BaseException) -> bool:
        asked.append(error)
        return True

    async def main() -> None:
        retry = Retry(initial=3600, max_delay=3600, retry_on=always)
        async with Pipeline(Stage("door", door.coroutine, retry=retry), scheduler="asyncio").open() as running:
            submission = running.submit(1)
            await door.calls_made(1)
            submission.cancel()
            assert (await submission).status == "cancelled"
        assert asked == []

    on_loop(main())
