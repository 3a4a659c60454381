"""What a run's listeners are told of its health, and that a blocked loop is seen."""

from __future__ import annotations

import threading
from typing import Any

from pipeline_helpers import Block, finish, step

from rxpipe import Listener, Pipeline, RunView, Stage
from rxpipe.service.health import HealthWatch
from rxpipe.service.pulse import Pulse


class Told(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stalled(self, run: RunView, reason: str) -> None:
        self.told.append(f"stalled: {reason}")

    def draining(self, run: RunView) -> None:
        self.told.append("draining")


def test_listeners_are_told_once() -> None:
    """Of each change; and again if the run is stalled anew."""
    seconds = [0.0]
    block, told = Block(), Told()
    stages: list[Stage[Any, Any]] = [step("work", block, concurrency=1, timeout=20)]
    run = Pipeline(*stages, listeners=[told]).start([1, 2])
    block.wait_for(1)
    health = HealthWatch(now=lambda: seconds[0])
    health.begin(run, stages)
    pulse = Pulse(health)
    pulse.begin(run)
    for _ in range(20):
        pulse.beat()
        seconds[0] += 5
    (stalled,) = told.told
    assert stalled.startswith("stalled: nothing has happened for")
    assert "1 calls of work run" in stalled
    run.stop()
    for _ in range(3):
        pulse.beat()
    assert told.told == [stalled, "draining"]
    block.may_return.set()
    finish(run)
    pulse.beat()
    assert told.told == [stalled, "draining"]


def test_a_blocked_event_loop_is_seen() -> None:
    """By whoever looks from another thread: the loop itself could not say so."""
    seconds, goes_on, inside = [0.0], threading.Event(), threading.Event()

    async def work(number: int) -> int:
        inside.set()
        assert goes_on.wait(30)  # which no coroutine may do
        return number

    stages = [Stage("work", work, timeout=20)]
    run = Pipeline(*stages, scheduler="threads").start([1])
    assert inside.wait(30)
    health = HealthWatch(now=lambda: seconds[0])
    health.begin(run, stages)
    for _ in range(20):
        health.look()
        seconds[0] += 5
    assert health.look().status == "stalled"
    goes_on.set()
    finish(run)
    assert health.look().status == "ended"
