"""How an open pipeline says that it is, and what it waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pipeline_helpers import same

from rxpipe import Batch, Pipeline, Retry, Stage
from rxpipe.pipeline.open.health import patience

from .opened import Door, on_loop, until


def test_health_tells_what_it_waits_for() -> None:
    """Alive; then stalled, with what is where; then draining; then closed."""
    door = Door()

    async def main() -> None:
        stage = Stage("answering", door.coroutine, concurrency=2)
        opening = Pipeline(stage, scheduler="asyncio").open(stalled_after=0)
        assert opening.health().status == "closed"
        with pytest.raises(RuntimeError, match="not been opened"):
            opening.report()
        async with opening as running:
            assert (running.health().status, running.health().reason) == ("alive", "")
            submissions = [running.submit(number) for number in range(3)]
            await door.calls_made(2)
            await until(lambda: running.health().status == "stalled")
            assert "2 calls of answering run, 1 wait for answering" in running.health().reason
            door.open()
            await asyncio.gather(*submissions)
            assert running.health().status == "alive"
        assert running.health().status == "closed"

    on_loop(main())


@pytest.mark.parametrize("collects", [True, False])
def test_health_of_parents_that_wait_for_children(collects: bool) -> None:
    """A stall tells what the children wait for, and how many parents wait for these; all are unfinished."""
    door = Door()

    def split(number: int) -> list[str]:
        return [f"{number}{letter}" for letter in "ab"]

    async def main() -> None:
        stages = [Stage("split", split, expand=True), Stage("answering", door.coroutine, concurrency=3)]
        stages += [Stage("join", same, collect=True)] if collects else []
        async with Pipeline(*stages, scheduler="asyncio").open(stalled_after=0) as running:
            submissions = [running.submit(number) for number in range(2)]
            await door.calls_made(3)
            await until(lambda: "1 wait for answering" in running.health().reason)
            health = running.health()
            told = "3 calls of answering run, 1 wait for answering, 2 wait for their children"
            assert (health.status, health.reason.split(": ")[1]) == ("stalled", told)
            assert (health.held, health.unfinished) == (2, 6)
            door.open()
            await asyncio.gather(*submissions)
            await until(lambda: running.health().unfinished == 0)
            assert running.health().status == "alive"

    on_loop(main())


def test_how_long_health_is_patient() -> None:
    """A minute, or half as much again as a call or the delay before another one may take."""
    retry = Retry(max_delay=600)
    assert patience([Stage("a", same), Stage("b", same, timeout=10)]) == 60
    assert patience([Stage("a", same, timeout=100, retry=Retry(max_delay=1)), Stage("b", same)]) == 150
    assert patience([Stage("a", same), Stage("b", same, timeout=100, retry=retry)]) == 900
    assert patience([Stage("a", same, batch=Batch(max_seconds=120))]) == 180


def test_health_while_draining() -> None:
    """It says how many are left."""
    door = Door()

    async def main() -> None:
        async with Pipeline(Stage("door", door.coroutine), scheduler="asyncio").open() as running:
            running.submit(1)
            asyncio.get_running_loop().call_later(0, lambda: seen.append(running.health()))
            asyncio.get_running_loop().call_later(0.001, door.open)
        assert [(health.status, health.unfinished) for health in seen] == [("draining", 1)]

    seen: list[Any] = []
    on_loop(main())
