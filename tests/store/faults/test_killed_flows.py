"""Three workers of one flow that are killed again and again."""

from __future__ import annotations

import random
import signal
import time

import pytest

from store.flows.killed import bank, flow_job

from .places import Places
from .sweep import Start

WORKERS = 3
KILLS = 12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_workers_killed_at_random(on_postgres: Places, start: Start, seed: int) -> None:
    """All items end as they should, once, and no call is made behind its checkpoint."""
    chance = random.Random(seed)
    job = flow_job(on_postgres(), bank(100, seed=seed), seconds=0.05)
    workers = [start(job) for _ in range(WORKERS)]
    began, killed = time.monotonic(), 0
    while killed < KILLS and not any(worker.ended_well for worker in workers):
        victim = chance.randrange(WORKERS)
        time.sleep(chance.uniform(0.1, 0.6))
        if "started" not in workers[victim].said():
            continue
        workers[victim].signal(signal.SIGKILL)
        killed += workers[victim].wait() == -signal.SIGKILL
        job.look()
        workers[victim] = start(job)
        assert time.monotonic() < began + 60
    for worker in workers:
        worker.finish()
    states = job.check()
    assert killed > 3
    assert {"written", "failed", "dropped", "expanded", "collected"} == set(states)
