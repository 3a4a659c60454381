"""A simulation calls nothing, waits for nothing, and depends on its arguments alone."""

from __future__ import annotations

import asyncio
import builtins
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rxpipe import Batch, Pipeline, RateLimiter, Retry
from rxpipe.foresight import Forecast, RecordedRun, simulate

from .made_calls import alike, calls
from .worlds import stage


def test_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No function of the user's, no file, no connection, no thread and no clock."""

    def touched(*args: object, **options: object) -> Any:
        raise AssertionError("a simulation touches nothing")

    def pipeline() -> Pipeline[Any, Any]:
        retry = Retry(max_attempts=3, retry_on=touched)
        return Pipeline(
            stage("a", concurrency=2, expand=True, retry=retry, timeout=5.0),
            stage("b", concurrency=2, when=touched, key=touched, retry=retry),
            stage("c", concurrency=2, batch=Batch(max_items=2, max_seconds=1.0), rate_limit=RateLimiter(3)),
            sink=_Untouched(touched),
        )

    made = alike("a", 40, 1.0) + alike("a", 4, 1.0, "retried")
    children = {"a": {str(item): 2 for item in range(40)}}
    for name in ("b", "c"):
        made += calls(name, [(f"{item}/{child}", 1.0, "ok") for item in range(40) for child in range(2)])
    record = RecordedRun(calls=made, roots=range(40), children=children)
    simulate(pipeline(), record=record, replications=1)  # imports what is imported late
    one = pipeline()
    for place in (
        *((time, name) for name in ("time", "monotonic", "perf_counter", "sleep", "time_ns", "monotonic_ns")),
        *((builtins, "open"), (os, "open"), (socket, "socket"), (threading.Thread, "start")),
    ):
        monkeypatch.setattr(*place, touched)
    found = simulate(one, record=record, replications=2)
    monkeypatch.undo()
    assert found.written.middle == 80


class _Untouched:
    def __init__(self, open: Callable[..., Any]) -> None:
        self.open = open


_SCRIPT = """
import json
from rxpipe import Pipeline, Retry, Stage
from rxpipe.foresight import simulate
from rxpipe.foresight.calls.distributions import parse_distribution
async def call(value): ...
latency = {name: parse_distribution("uniform(0.5, 3)") for name in "ab"}
stages = Stage("a", call, concurrency=3, timeout=2.5, retry=Retry()), Stage("b", call, concurrency=2)
print(json.dumps(simulate(Pipeline(*stages), count=50, latency=latency, seed=7, replications=5).as_json()))
"""


def test_the_same_seed_gives_the_same_forecast() -> None:
    """In any process, byte for byte; another seed gives another one."""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    found = json.loads(outputs[0])
    assert found["seconds"] == {"middle": 48.05125, "low": 40.2629511, "high": 57.3460853}


def test_on_a_running_event_loop() -> None:
    """It neither needs the loop nor waits for it; it takes its thread until it is done."""

    async def main() -> Forecast:
        made = [*alike("a", 4, 1.0), *alike("b", 4, 0.5)]
        stages = stage("a", concurrency=2), stage("b", rate_limit=RateLimiter(1))
        return simulate(Pipeline(*stages), record=RecordedRun(calls=made, roots=range(4)), replications=2)

    assert asyncio.run(main()).seconds.middle == pytest.approx(4.5)
