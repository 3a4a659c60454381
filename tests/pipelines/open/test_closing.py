"""The two ends of an open pipeline's life: nothing is taken outside of them, and leaving is orderly."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pipeline_helpers import same

from rxpipe import Pipeline, SinkError, Stage
from rxpipe import operators as ops
from rxpipe.errors import PipelineClosed
from rxpipe.pipeline.blocking import in_thread

from .opened import Door, into_database, on_loop


def test_nothing_is_taken_before_it_is_open(tmp_path: Path) -> None:
    """Nor where opening has failed: nobody would ever end it."""

    async def main() -> None:
        opening = into_database(tmp_path / "nowhere", Stage("same", same)).open()
        for _ in range(2):
            with pytest.raises(PipelineClosed, match="not open"):
                opening.submit(1)
            with pytest.raises(PipelineClosed, match="not open"):
                opening.submit_nowait(1)
            with pytest.raises((SinkError, RuntimeError)):
                await opening.__aenter__()

    on_loop(main())


class Held:
    """A sink that writes when its door is opened."""

    def __init__(self) -> None:
        self.door = Door()

    def _write(self, outcome: Any) -> Any:
        self.door.plain(outcome.id)
        return outcome

    def open(self) -> Any:
        return ops.stage(self._write)


def test_a_task_that_is_cancelled_twice_while_it_closes() -> None:
    """The second time it does not wait, and is cancelled like any other task."""
    sink = Held()

    async def serve() -> None:
        async with Pipeline(Stage("same", same), sink=sink, scheduler="asyncio").open() as running:
            submissions.append(running.submit(1))
            await sink.door.calls_made(1)

    async def main() -> None:
        task = asyncio.create_task(serve())
        await sink.door.calls_made(1)
        for _ in range(2):
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sink.door.open()
        assert (await submissions[0]).status == "written"

    submissions: list[Any] = []
    on_loop(main())


def test_all_are_told_before_it_is_left() -> None:
    """In threads, too: leaving waits for those who hear of the end."""
    has_left = threading.Event()
    early: list[bool] = []
    with Pipeline(Stage("same", same)).open() as running:
        running.outcomes.subscribe(on_completed=lambda: early.append(has_left.wait(0.1)))
    has_left.set()
    assert early == [False]


@pytest.mark.parametrize("times", [1, 2])
def test_what_was_made_when_its_maker_was_cancelled_is_undone(times: int) -> None:
    """Also where that was twice, just as the thread handed it over: else it would stay open, and nobody has it."""
    handed_over = threading.Event()

    def undo(made: int) -> None:
        undone.append(made)
        handed_over.set()

    async def main() -> None:
        task = asyncio.create_task(in_thread(lambda: 7, undo=undo))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251 - so that the thread has made it, and the loop has not heard of it
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(handed_over.wait, 2)
        assert undone == [7]

    undone: list[int] = []
    on_loop(main())
