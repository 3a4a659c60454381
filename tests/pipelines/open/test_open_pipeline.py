"""Pipelines that stay open: what is submitted ends, once, and whoever submitted it hears how."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, ListSink, counts, same
from reactivex import operators as rx_ops

from rxpipe import ConfigError, Pipeline, SinkError, Stage, StopRun
from rxpipe.errors import Overloaded, PipelineClosed
from rxpipe.pipeline.open.submission import Submission
from rxpipe.pipeline.plan import Scheduler

from .opened import Door, into_database, on_loop, refuse_odd, rows, until


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_each_submission_gives_its_outcome(tmp_path: Path, scheduler: Scheduler, durable: bool) -> None:
    """After its row is committed; a failed one too."""

    async def main() -> None:
        pipeline = into_database(tmp_path, Stage("odd", refuse_odd), scheduler=scheduler, durable=durable)
        async with pipeline.open() as running:
            for item_id, status, value in ((2, "written", 20), (3, "failed", 3)):
                outcome = await running.submit(item_id)
                assert (outcome.id, outcome.status, outcome.value) == (item_id, status, value)
                assert rows(tmp_path)[str(item_id)] == status
        assert counts(running.report()) == (2, 1, 1, 0)

    on_loop(main())


@pytest.mark.slow
@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_in_threads(tmp_path: Path, scheduler: Scheduler, durable: bool) -> None:
    """Many threads submit, and wait for the results."""
    with into_database(tmp_path, Stage("odd", refuse_odd), scheduler=scheduler, durable=durable).open() as running:
        statuses: dict[int, str] = {}

        def submit(first: int) -> None:
            for item_id in range(first, first + 25):
                statuses[item_id] = running.submit(item_id).result(LIMIT).status

        threads = [threading.Thread(target=submit, args=(first,)) for first in range(0, 100, 25)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
    assert statuses == {number: "failed" if number % 2 else "written" for number in range(100)}
    assert rows(tmp_path) == {str(number): status for number, status in statuses.items()}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_leaving_drains(scheduler: Scheduler) -> None:
    """What was submitted ends, also what was still waiting for room; then nothing is taken."""
    sink = ListSink()

    async def main() -> list[Submission]:
        async with Pipeline(Stage("same", same), sink=sink, scheduler=scheduler).open(capacity=2) as running:
            submissions = [running.submit(number) for number in range(50)]
        with pytest.raises(PipelineClosed):
            running.submit(1)
        assert running.health().status == "closed"
        return submissions

    submissions = on_loop(main())
    assert [submission.result(0).status for submission in submissions] == ["written"] * 50
    assert sorted(row.id for row in sink.rows) == list(range(50))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_more_are_held_than_there_is_room_for(scheduler: Scheduler) -> None:
    """The others wait; ``submit_nowait`` is refused, and says when to come back."""
    door = Door()

    async def main() -> None:
        stage = Stage("door", door.plain, concurrency=2, queue_size=3)
        async with Pipeline(stage, scheduler=scheduler).open() as running:
            waiting = [running.submit(number) for number in range(20)]
            health = running.health()
            assert (health.held, health.waiting, health.unfinished) == (5, 15, 20)
            with pytest.raises(Overloaded, match="it has 5 IDs") as refused:
                running.submit_nowait(99)
            assert 1 <= refused.value.retry_after <= 60
            await asyncio.to_thread(door.wait_for_calls, 2)
            door.open()
            for submission in waiting:
                assert (await submission).status == "written"
            assert (await running.submit_nowait(99)).status == "written"
        assert door.most == 2
        assert running.report().most_in_flight <= 5 + 1  # one that is on its way from the stages to its end

    on_loop(main())


def test_a_thread_waits_for_room() -> None:
    """``submit`` returns when the ID is let in."""
    door = Door()
    with Pipeline(Stage("door", door.plain, concurrency=1, queue_size=0)).open() as running:
        running.submit(1)
        done = threading.Event()

        def submit() -> None:
            running.submit(2)
            done.set()

        thread = threading.Thread(target=submit)
        thread.start()
        door.wait_for_calls(1)
        while running.health().waiting == 0:
            pass
        assert not done.is_set()
        door.open()
        assert done.wait(LIMIT)
        thread.join(LIMIT)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_same_id_shares_one_item(scheduler: Scheduler) -> None:
    """Both get its outcome, and it is worked on once; after its end it is a new one."""
    door = Door()

    async def main() -> None:
        async with Pipeline(Stage("door", door.plain), scheduler=scheduler).open(capacity=1) as running:
            first, second = running.submit(1), running.submit_nowait(1)
            await asyncio.to_thread(door.wait_for_calls, 1)
            third = running.submit(1)
            door.open()
            assert await first is await second is await third
            assert (door.calls[1], running.report().taken) == (1, 1)
            assert (await running.submit(1)).status == "written"
            assert door.calls[1] == 2

    on_loop(main())


@pytest.mark.parametrize("way", ["cancelled", "timed out"])
def test_a_caller_that_gives_up_does_not_disturb_the_item(way: str) -> None:
    """It is written nevertheless, and another caller gets its outcome."""
    door = Door()

    async def main() -> None:
        async with Pipeline(Stage("door", door.coroutine), scheduler="asyncio").open() as running:
            submission = running.submit(1)
            if way == "cancelled":
                caller = asyncio.ensure_future(submission)
                await door.calls_made(1)
                caller.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await caller
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(submission, 0.001)
            door.open()
            assert (await submission).status == "written"
        assert (door.calls[1], door.cut_off) == (1, [])

    on_loop(main())


def test_a_thread_that_gives_up() -> None:
    """It may ask again."""
    door = Door()
    with Pipeline(Stage("door", door.plain)).open() as running:
        submission = running.submit(1)
        with pytest.raises(TimeoutError):
            submission.result(0.001)
        assert not submission.done()
        door.open()
        assert submission.result(LIMIT).status == "written"


def test_a_result_is_not_waited_for_on_a_loop() -> None:
    """That would block it for ever."""
    door = Door()

    async def main() -> None:
        async with Pipeline(Stage("door", door.coroutine), scheduler="asyncio").open() as running:
            submission = running.submit(1)
            with pytest.raises(RuntimeError, match="await"):
                submission.result()
            door.open()
            await submission
            assert submission.result().id == 1

    on_loop(main())


def test_what_is_no_id_is_refused() -> None:
    """At once, and nothing else is disturbed."""

    async def main() -> None:
        async with Pipeline(Stage("same", same), scheduler="asyncio").open() as running:
            for wrong in (1.5, None, True, b"1"):
                bad: Any = wrong
                with pytest.raises(ConfigError, match="an ID must be"):
                    running.submit(bad)
            assert (await running.submit(1)).status == "written"

    on_loop(main())


class Failing:
    """A sink that is away."""

    def open(self) -> Any:
        def write(outcomes: Any) -> Any:
            def fail(outcome: Any) -> Any:
                raise SinkError("the database is away")

            return outcomes.pipe(rx_ops.map(fail))

        return write


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_when_the_sink_fails_whoever_waits_is_told(scheduler: Scheduler) -> None:
    """Also those that wait for room, and those that come later; and leaving raises it."""
    door = Door()

    async def main() -> None:
        stage = Stage("door", door.coroutine)
        async with Pipeline(stage, sink=Failing(), scheduler=scheduler).open(capacity=1) as running:
            submissions = [running.submit(number) for number in range(5)]
            door.open()
            for submission in submissions:
                with pytest.raises(PipelineClosed) as closed:
                    await submission
                assert isinstance(closed.value.__cause__, SinkError)
            await until(lambda: running.health().status == "closed")
            with pytest.raises(PipelineClosed) as late:
                running.submit(9)
            assert isinstance(late.value.__cause__, SinkError)
            assert "SinkError: the database is away" in running.health().reason

    with pytest.raises(SinkError):
        on_loop(main())


def test_a_stage_that_stops_the_run() -> None:
    """Whoever waits gets an error, not an outcome: the item has not failed."""

    def stop(value: int) -> int:
        raise StopRun("no credit is left")

    async def main() -> None:
        async with Pipeline(Stage("stop", stop), scheduler="asyncio").open() as running:
            with pytest.raises(PipelineClosed) as closed:
                await running.submit(1)
            assert isinstance(closed.value.__cause__, StopRun)

    with pytest.raises(StopRun):
        on_loop(main())


def test_what_the_body_raises_is_raised() -> None:
    """After draining, whatever the pipeline fails with."""
    sink = ListSink()

    async def main() -> None:
        async with Pipeline(Stage("same", same), sink=sink, scheduler="asyncio").open() as running:
            running.submit(1)
            raise LookupError

    with pytest.raises(LookupError):
        on_loop(main())
    assert [row.id for row in sink.rows] == [1]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_grace_that_is_over_cancels_the_calls(scheduler: Scheduler) -> None:
    """Leaving does not wait for ever."""
    door = Door()

    async def main() -> None:
        pipeline = Pipeline(Stage("door", door.coroutine, concurrency=2, queue_size=5), scheduler=scheduler)
        async with pipeline.open(grace=0.01) as running:
            submissions = [running.submit(number) for number in range(10)]
            await until(lambda: door.calls.total() == 2)
        assert {(await one).status for one in submissions} == {"cancelled"}
        await until(lambda: sorted(door.cut_off) == [0, 1])  # with threads, on a loop of their own
        assert running.report().written == 0

    on_loop(main())


@pytest.mark.parametrize("at", ["body", "drain"])
def test_a_task_that_is_cancelled_cancels_the_calls(at: str) -> None:
    """What is finished is still written."""
    door = Door()
    sink = ListSink()

    def pass_even(value: int) -> Any:
        return door.coroutine(value) if value % 2 else value

    async def serve() -> None:
        async with Pipeline(Stage("door", pass_even), sink=sink, scheduler="asyncio").open() as running:
            submissions.extend(running.submit(number) for number in range(4))
            if at == "body":
                await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(serve())
        await door.calls_made(2)
        await until(lambda: len(sink.rows) == 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [(await one).status for one in submissions] == ["written", "cancelled"] * 2

    submissions: list[Submission] = []
    on_loop(main())


def test_what_cannot_be_open_is_refused() -> None:
    """By the option's name."""
    with pytest.raises(ValueError, match="staged"):
        Pipeline(Stage("same", same), strategy="staged").open()
    for options in ({"capacity": 0}, {"capacity": 1.5}, {"grace": -1}, {"stalled_after": -1}):
        wrong: Any = options
        with pytest.raises(ValueError, match=next(iter(options))):
            Pipeline(Stage("same", same)).open(**wrong)


def test_a_sink_that_cannot_be_opened(tmp_path: Path) -> None:
    """The error is that of ``run``, and nothing stays open."""

    async def main() -> None:
        with pytest.raises(SinkError):
            async with into_database(tmp_path / "nowhere" / "at all", Stage("same", same)).open():
                pass

    on_loop(main())
