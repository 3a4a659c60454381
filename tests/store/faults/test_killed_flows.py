"""Three workers of one flow that are killed again and again."""

from __future__ import annotations

import random
import signal
import time

import pytest

from store.flows.killed import FlowJob, flow_job
from store.flows.shapes import SHAPES, flow_of

from .places import Places
from .sweep import Start

WORKERS = 3
KILLS = 8


def kill_at_random(job: FlowJob, start: Start, seed: int) -> int:
    """Kill workers until some have been, or the run is over; let the others finish; returns how many were killed."""
    chance = random.Random(seed)
    workers = [start(job) for _ in range(WORKERS)]
    began, killed = time.monotonic(), 0
    while killed < KILLS and not any(worker.ended_well for worker in workers):
        victim = chance.randrange(WORKERS)
        time.sleep(chance.uniform(0.05, 0.3))
        if "started" not in workers[victim].said():
            continue
        workers[victim].signal(signal.SIGKILL)
        killed += workers[victim].wait() == -signal.SIGKILL
        job.look()
        workers[victim] = start(job)
        assert time.monotonic() < began + 60
    for worker in workers:
        worker.finish()
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_workers_killed_at_random(on_postgres: Places, start: Start, shape: str) -> None:
    """All items end as they should, once, and no call is made behind its checkpoint."""
    seed = list(SHAPES).index(shape)
    job = flow_job(on_postgres(), flow_of(shape, 40, seed=seed), seconds=0.05)
    killed = kill_at_random(job, start, seed)
    states = job.check()
    assert killed > 1
    assert {"written", "failed", "dropped"} <= set(states)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "until"), [("expand", 60), ("nested", 20), ("cache", 30)])
def test_workers_killed_until_enough_is_written(on_postgres: Places, start: Start, shape: str, until: int) -> None:
    """Exactly so many rows are written by all of them together."""
    job = flow_job(on_postgres(), flow_of(shape, 500, seed=7), seconds=0.05, until=until)
    killed = kill_at_random(job, start, 7)
    job.check()
    assert killed > 1
