"""Leaving an open pipeline by Ctrl-C or by being cancelled; and what those hear who come at a bad time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import ListSink, same
from reactivex.testing import TestScheduler

from rxpipe import Pipeline, Stage
from rxpipe.errors import Overloaded
from rxpipe.pipeline.open.submission import Submission

from .opened import Door, into_database, on_loop, until


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_the_body_drains(error: type[BaseException]) -> None:
    """As the first one does of a run; what was submitted is written."""
    sink = ListSink()

    def leave() -> None:
        with Pipeline(Stage("same", same), sink=sink).open() as running:
            for number in range(20):
                running.submit(number)
            raise error

    with pytest.raises(error):
        leave()
    assert sorted(sink.ids) == list(range(20))


def test_ctrl_c_while_draining_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the second one does of a run."""
    door = Door()
    submissions: list[Submission] = []

    def interrupted(*_: Any, **__: Any) -> Any:
        monkeypatch.undo()
        raise KeyboardInterrupt

    def leave() -> None:
        with Pipeline(Stage("door", door.coroutine)).open() as running:
            submissions.append(running.submit(1))
            door.wait_for_calls(1)
            monkeypatch.setattr("rxpipe.pipeline.open.open_pipeline.wait", interrupted)

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert submissions[0].result(0).status == "cancelled"


def test_a_cancelled_task_has_its_grace() -> None:
    """If there is one, what was submitted may end."""
    door = Door()
    submissions: list[Submission] = []

    async def serve() -> None:
        async with Pipeline(Stage("door", door.coroutine), scheduler="asyncio").open(grace=3600) as running:
            submissions.append(running.submit(1))
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(serve())
        await door.calls_made(1)
        task.cancel()
        await asyncio.sleep(0)
        door.open()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await submissions[0]).status == "written"

    on_loop(main())


def test_when_to_come_again_goes_by_how_long_items_take() -> None:
    """Not by how long nothing was asked for."""
    time, door = TestScheduler(), Door()

    async def main() -> None:
        pipeline = Pipeline(Stage("door", door.coroutine), scheduler="asyncio")
        async with pipeline.open(capacity=1, scheduler=time) as running:
            first = running.submit(1)
            await door.calls_made(1)
            time.advance_by(7.0)
            door.open()
            await first
            time.advance_by(3600.0)
            door.close()
            running.submit(2)
            with pytest.raises(Overloaded) as refused:
                running.submit_nowait(3)
            door.open()
        assert refused.value.retry_after == pytest.approx(7)

    on_loop(main())


def test_what_an_earlier_process_left_counts_as_unfinished(tmp_path: Path) -> None:
    """And if nothing happens to it, the pipeline is stalled, though nothing was submitted."""
    door, stuck = Door(), Door()

    async def begin() -> None:
        async with into_database(tmp_path, Stage("door", door.coroutine, version=1)).open(grace=0) as running:
            running.submit(1)
            await door.calls_made(1)

    async def go_on() -> None:
        stage = Stage("door", stuck.coroutine, version=1)
        async with into_database(tmp_path, stage).open(stalled_after=0) as running:
            await stuck.calls_made(1)
            await until(lambda: running.health().status == "stalled")
            assert running.health().unfinished == 1
            assert "1 calls of door run" in running.health().reason
            stuck.open()
            await until(lambda: running.health().unfinished == 0)

    on_loop(begin())
    on_loop(go_on())


def test_what_they_say_of_themselves() -> None:
    """For whoever prints them."""
    door = Door()

    async def main() -> None:
        opening = Pipeline(Stage("door", door.coroutine), scheduler="asyncio").open()
        assert repr(opening) == "<OpenPipeline closed: 0 unfinished>"
        async with opening as running:
            submission = running.submit("a")
            assert (repr(running), repr(submission)) == (
                "<OpenPipeline alive: 1 unfinished>",
                "<Submission 'a': not ended>",
            )
            door.open()
            await submission
            assert repr(submission) == "<Submission 'a': written>"

    on_loop(main())


def test_it_opens_once() -> None:
    """The next time is another one."""

    async def main() -> None:
        opening = Pipeline(Stage("same", same), scheduler="asyncio").open()
        async with opening:
            pass
        with pytest.raises(RuntimeError, match="opened before"):
            async with opening:
                pass
        with pytest.raises(RuntimeError, match="async with"), Pipeline(Stage("same", same)).open():
            pass

    on_loop(main())
