"""Calls that end because their item was cancelled: nothing else may come of it."""

from __future__ import annotations

import asyncio

import pytest
from pipeline_helpers import SCHEDULERS, same

from rxpipe import Pipeline, RateLimiter, Retry, Stage
from rxpipe.pipeline.plan import Scheduler

from .opened import Door, on_loop, until


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


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_waits_in_a_stage_ends_at_once(scheduler: Scheduler) -> None:
    """In its queue, whatever the calls before it do; its place is free for another."""
    door = Door()

    async def main() -> None:
        stage = Stage("door", door.plain, concurrency=1, queue_size=2)
        async with Pipeline(Stage("same", same), stage, scheduler=scheduler).open() as running:
            submissions = [running.submit(number) for number in range(3)]
            await until(lambda: running.report().stages[0].done == 3 and door.inside == 1)
            assert submissions[2].cancel()
            outcome = await submissions[2]
            assert (outcome.status, outcome.stage, outcome.attempts) == ("cancelled", "door", 1)
            health = running.health()
            assert (health.held, health.unfinished) == (2, 2)
            door.open()
        assert sorted(door.calls) == [0, 1]

    on_loop(main())


def test_what_is_cancelled_takes_nothing_of_a_rate_limit() -> None:
    """Another one, which waits as well, has its turn."""
    limiter = RateLimiter(1, 3600)

    async def main() -> None:
        stage = Stage("same", same, concurrency=5, rate_limit=limiter)
        async with Pipeline(stage, scheduler="asyncio").open() as running:
            await running.submit(1)
            submissions = [running.submit(number) for number in (2, 3)]
            for submission in submissions:
                submission.cancel()
                assert (await submission).status == "cancelled"
            assert running.health().held == 0

    on_loop(main())


def test_what_waits_for_a_slot_to_try_again_ends_at_once() -> None:
    """Its delay is over, and another has the only slot."""
    door = Door()
    failures = [ValueError("first")]

    def fail_once(value: int) -> int:
        if value == 1 and failures:
            raise failures.pop()
        return int(door.plain(value))

    async def main() -> None:
        stage = Stage("stage", fail_once, concurrency=1, retry=Retry(initial=0, max_delay=0))
        async with Pipeline(stage, scheduler="asyncio").open() as running:
            submissions = [running.submit(number) for number in (1, 2)]
            await door.calls_made(1)
            for _ in range(10):
                await asyncio.sleep(0)  # its delay is none at all
            submissions[0].cancel()
            assert (await submissions[0]).status == "cancelled"
            door.open()
        assert submissions[1].result().status == "written"
        assert door.calls == {2: 1}

    on_loop(main())
