"""Workers of one run that are killed again and again."""

from __future__ import annotations

import random
import signal

import pytest

from .pauses import Pauses
from .places import Places
from .sweep import Start
from .watch import Watch
from .work import Job

ITEMS = 500
WORKERS = 4
KILLS = 12
CALLS = 100  # between two kills


@pytest.mark.slow
def test_workers_killed_at_random(on_postgres: Places, start: Start) -> None:
    """However often workers are killed, and whichever, the others and their successors finish the run."""
    place = on_postgres()
    watch = Watch(place)
    job = Job(
        url=place.url,
        directory=place.directory,
        items=tuple(range(ITEMS)),
        seconds=0.01,
        concurrency=1,
        window=0.02,
        store={"lease": 2, "heartbeat": 0.3, "max_crashes": 1000},
        pauses=Pauses(directory=place.directory, kills=KILLS, calls=CALLS),
    )
    assert job.pauses is not None
    chance = random.Random(20260)
    workers = [start(job) for _ in range(WORKERS)]
    killed: set[int] = set()
    for _ in job.pauses.moments(watch.ledger, chance):
        victim = chance.randrange(WORKERS)
        workers[victim].signal(signal.SIGKILL)
        assert workers[victim].wait() == -signal.SIGKILL
        killed.add(workers[victim].pid)
        watch.look()
        workers[victim] = start(job)
    for child in workers:
        child.finish()
    snapshot = watch.check(range(ITEMS))
    joined = {worker.pid for worker in snapshot.workers}  # some were killed before
    assert {worker.pid for worker in snapshot.workers if worker.ended_as == "lost"} == killed & joined
    assert {worker.ended_as for worker in snapshot.workers} == {"lost", "stopped"}
