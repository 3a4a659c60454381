"""Flows of every shape, whose workers are killed at random on PostgreSQL."""

from __future__ import annotations

import random
import signal

import pytest

from store.flows.killed import FlowJob, flow_job
from store.flows.shapes import SHAPES, flow_of

from .pauses import Pauses
from .places import Places
from .sweep import Start
from .waiting import until as wait_until

WORKERS = 3


def kill_at_random(job: FlowJob, start: Start, seed: int) -> None:
    """Kill workers as often as the job's pauses say, and let the others finish."""
    assert job.pauses is not None
    chance = random.Random(seed)
    workers = [start(job) for _ in range(WORKERS)]

    def at_work() -> list[int]:
        return [number for number, worker in enumerate(workers) if "started" in worker.said()]

    for _ in job.pauses.moments(job.ledger, chance):
        victim = chance.choice(wait_until("a worker has begun", at_work))
        workers[victim].signal(signal.SIGKILL)
        assert workers[victim].wait() == -signal.SIGKILL
        job.look()
        workers[victim] = start(job)
    for worker in workers:
        worker.finish()


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_workers_killed_at_random(on_postgres: Places, start: Start, shape: str) -> None:
    """All items end as they should, once, and no call is made behind its checkpoint."""
    seed, place = list(SHAPES).index(shape), on_postgres()
    pauses = Pauses(directory=place.directory, kills=4, calls=25)
    job = flow_job(place, flow_of(shape, 40, seed=seed), seconds=0.01, pauses=pauses)
    kill_at_random(job, start, seed)
    assert {"written", "failed", "dropped"} <= set(job.check())


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "until"), [("expand", 60), ("nested", 20), ("cache", 30)])
def test_workers_killed_until_enough_is_written(on_postgres: Places, start: Start, shape: str, until: int) -> None:
    """Exactly so many rows are written by all of them together."""
    place = on_postgres()
    pauses = Pauses(directory=place.directory, kills=3, calls=20)
    job = flow_job(place, flow_of(shape, 500, seed=7), seconds=0.01, until=until, pauses=pauses)
    kill_at_random(job, start, 7)
    job.check()
