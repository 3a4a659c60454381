"""Runs in virtual time whose every call is known: what a store would have recorded of them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from rxpipe import Pipeline, Stage
from rxpipe.foresight.calls.draws import StageDraws
from rxpipe.foresight.calls.load import Load
from rxpipe.foresight.calls.record import Draw, RecordedRun
from rxpipe.foresight.calls.recorder import CallRecorder
from rxpipe.foresight.calls.refusals import Rate
from rxpipe.foresight.virtual.copies import simulated_pipeline
from rxpipe.foresight.virtual.server import Server
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.pipeline.run.run import Run


async def never_called(value: Any) -> Any:
    """A stage's function."""
    raise AssertionError("a simulation has called a function")


def stage(name: str, **options: Any) -> Stage[Any, Any]:
    """A stage whose function must not be called."""
    return Stage(name, never_called, **options)


def lognormal(
    median: float, spread: float, *, failing: float = 0.0, seed: int = 0, cost: float = 0.0, count: int = 20_000
) -> StageDraws:
    """Calls with heavy tails, some of which fail."""
    numbers = random.Random(seed)
    return StageDraws(
        first=[
            Draw(
                median * math.exp(numbers.gauss(0, spread)),
                "retried" if numbers.random() < failing else "ok",
                Usage(
                    prompt_tokens=numbers.randrange(50, 250),
                    completion_tokens=50,
                    cost=cost * numbers.uniform(0.5, 1.5),
                ),
            )
            for _ in range(count)
        ]
    )


def always(*draws: Draw) -> StageDraws:
    """Calls of which each is as likely as the others."""
    return StageDraws(first=list(draws))


def run_truly(
    pipeline: Pipeline[Any, Any],
    draws: Mapping[str, StageDraws],
    count: int,
    *,
    seed: int = 0,
    load: Load | None = None,
    rate: Rate | None = None,
) -> tuple[Run, RecordedRun]:
    """Run a pipeline on a server whose nature is known; what it came to, and the record of its calls."""
    time = VirtualTime()
    recorder = CallRecorder(lambda: time.seconds)
    copy = simulated_pipeline(pipeline, draws, time, Server(time, load, rate=rate), seed)
    copy.listeners = (recorder,)
    run = copy.start(range(count), scheduler=time)
    time.run()
    assert run.finished.done()
    return run, recorder.record()
