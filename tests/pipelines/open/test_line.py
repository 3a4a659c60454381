"""The line before the stages: who leaves it, who comes back to it, and who must not be kept waiting there."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, same, until

from rxpipe import Pipeline, Stage
from rxpipe.pipeline.open.admission_queue import AdmissionQueue
from rxpipe.pipeline.open.events import Event
from rxpipe.pipeline.open.submission import Submission
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.item import Item

from .opened import Door, on_loop


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cancelling_the_last_that_waits_while_it_is_closed(scheduler: Scheduler) -> None:
    """Nobody is waited for in the line, and leaving returns."""
    door = Door()

    async def main() -> None:
        async with Pipeline(Stage("door", door.plain), scheduler=scheduler).open(capacity=1) as running:
            first, second = running.submit(1), running.submit(2)
            await door.calls_made(1)
            asyncio.get_running_loop().call_soon(second.cancel)
            asyncio.get_running_loop().call_soon(door.open)
        assert [one.result().status for one in (first, second)] == ["written", "cancelled"]

    on_loop(main())


def test_cancelling_what_was_let_in_and_has_no_place_in_a_stage() -> None:
    """It ends at once, whatever the stages are doing."""
    door = Door()

    async def main() -> None:
        stage = Stage("door", door.coroutine, concurrency=1, queue_size=0)
        async with Pipeline(stage, scheduler="asyncio").open(capacity=10) as running:
            submissions = [running.submit(number) for number in range(5)]
            await door.calls_made(1)
            submissions[4].cancel()
            assert submissions[4].result().status == "cancelled"
            assert running.health().held == 4
            door.open()
        assert [one.result().status for one in submissions[:4]] == ["written"] * 4

    on_loop(main())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("leaves", [False, True])
def test_an_id_that_was_cancelled_is_submitted_again(scheduler: Scheduler, leaves: bool) -> None:
    """While its item is still on its way: who comes later has not cancelled anything, and gets a new one."""
    door = Door()

    async def main() -> None:
        stage = Stage("door", door.plain, concurrency=1)
        async with Pipeline(stage, scheduler=scheduler).open() as running:
            running.submit(0)
            await door.calls_made(1)
            before = running.submit(1)  # waits in the stage's queue
            before.cancel()
            again, third = running.submit(1), running.submit_nowait(1)
            third.cancel()
            assert third.result().status == "cancelled"
            if leaves:
                asyncio.get_running_loop().call_soon(door.open)
            else:
                door.open()
                assert (await again).status == "written"
        assert (before.result().status, again.result().status) == ("cancelled", "written")
        assert door.calls == {0: 1, 1: 1}

    on_loop(main())


def test_a_subscriber_that_submits_while_it_is_full() -> None:
    """It is not kept waiting for room, which nobody could make meanwhile."""

    def go_on(outcome: Outcome[Any]) -> None:
        if int(outcome.id) < 20:
            running.submit(int(outcome.id) + 1)

    with Pipeline(Stage("same", same)).open(capacity=1) as running:
        running.outcomes.subscribe(go_on)
        running.submit(0)
        until(lambda: running.report().written == 21)


def test_a_callback_that_submits_while_it_is_full() -> None:
    """Nor is a callback."""
    door = Door()

    def go_on(_: Submission) -> None:
        more.extend(running.submit(number) for number in range(10, 13))
        told.set()

    more: list[Submission] = []
    told = threading.Event()
    with Pipeline(Stage("door", door.plain, concurrency=1, queue_size=0)).open(capacity=1) as running:
        submission = running.submit(0)
        submission.add_done_callback(go_on)
        door.open()
        assert told.wait(LIMIT)
        assert [one.result(LIMIT).status for one in more] == ["written"] * 3


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_stage_that_submits_to_its_own_pipeline(scheduler: Scheduler) -> None:
    """As a crawler does: it is not kept waiting for room that only it can make."""

    def crawl(value: int) -> int:
        if value < 16:
            submissions.extend(running.submit(next_one) for next_one in (2 * value, 2 * value + 1))
        return value

    submissions: list[Submission] = []
    with Pipeline(Stage("crawl", crawl, concurrency=1), scheduler=scheduler).open(capacity=1) as running:
        submissions.append(running.submit(1))
        until(lambda: running.report().written == 31)


def test_whoever_submits_runs_nothing_of_the_pipeline() -> None:
    """With threads, what happens to an ID happens on rxpipe's: Ctrl-C must not hit it on a user's."""
    threads: set[threading.Thread] = set()

    def note(event: Event) -> None:
        threads.add(threading.current_thread())

    with Pipeline(Stage("same", same)).open() as running:
        running.events.subscribe(note)
        for number in range(200):
            running.submit(number)
    assert threads
    assert threading.current_thread() not in threads


def test_waits_that_end_early_leave_nothing_behind() -> None:
    """However often somebody looks in, or is cancelled."""
    door = Door()

    async def main() -> None:
        async with Pipeline(Stage("door", door.coroutine), scheduler="asyncio").open() as running:
            submission = running.submit(1)
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(submission, 0.001)
                with pytest.raises(TimeoutError):
                    await asyncio.to_thread(submission.result, 0.001)
            assert submission._callbacks == []  # pyright: ignore[reportPrivateUsage] - nothing else tells
            door.open()

    on_loop(main())


def test_the_line_is_not_over_while_one_moves_up() -> None:
    """It is closed, and looks whether anybody is left, just as the last one is let in on another thread."""
    queue = AdmissionQueue(1)
    items: list[Item] = []

    def take(item_id: Any) -> None:
        items.append(Item(item_id, 0.0))
        queue.taken(items[-1])

    class Slow(OrderedDict[Any, None]):
        def popitem(self, last: bool = True) -> tuple[Any, None]:
            popped = super().popitem(last)
            line.may_emit = lambda: False  # as where the stages are full
            looking = threading.Thread(target=line.wake)
            looking.start()
            looking.join(0.05)  # unless it has to wait, as it should
            del line.may_emit
            lookers.append(looking)
            return popped

    async def submit() -> list[Submission]:
        return [queue.submit(number, nowait=False) for number in range(2)]

    lookers: list[threading.Thread] = []
    queue._waiting = Slow()  # pyright: ignore[reportPrivateUsage] - no other way between two of its steps
    queue.source().subscribe(take)
    line: Any = queue._admitted_ids  # pyright: ignore[reportPrivateUsage] - as above
    asyncio.run(submit())
    queue.close()
    queue.left(items[0])
    for looker in lookers:
        looker.join(LIMIT)
    assert [item.id for item in items] == [0, 1]
