"""Workers of one run that are killed again and again."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Sequence

import pytest

from .children import Child
from .places import Places
from .sweep import Start
from .watch import Watch
from .work import Job

ITEMS = 1000
WORKERS = 4


@pytest.mark.slow
def test_workers_killed_at_random(on_postgres: Places, start: Start) -> None:
    """However often workers are killed, and whichever, the others and their successors finish the run."""
    began = time.monotonic()
    place = on_postgres()
    watch = Watch(place)
    job = Job(
        url=place.url,
        directory=place.directory,
        items=tuple(range(ITEMS)),
        seconds=0.02,
        concurrency=1,
        window=0.02,
        store={"lease": 2, "heartbeat": 0.3, "max_crashes": 1000},
    )
    chance = random.Random(20260)
    workers = [start(job) for _ in range(WORKERS)]
    killed: set[int] = set()
    late: set[int] = set()  # of them when nothing was left to do: they may have ended before
    while not any(child.ended_well for child in workers):
        victim = chance.randrange(WORKERS)
        _wait_while_all_live(workers, chance.uniform(0.1, 1))
        workers[victim].signal(signal.SIGKILL)
        if workers[victim].wait() == -signal.SIGKILL:
            is_late = watch.look().states()["written"] == ITEMS
            (late if is_late else killed).add(workers[victim].pid)
            workers[victim] = start(job)
        assert time.monotonic() < began + 120
    for child in workers:
        child.finish()
    snapshot = watch.check(range(ITEMS))
    assert len(killed) > 5
    joined = {worker.pid for worker in snapshot.workers}  # some were killed before
    lost = {worker.pid for worker in snapshot.workers if worker.ended_as == "lost"}
    assert lost - late == killed & joined
    assert {worker.ended_as for worker in snapshot.workers} == {"lost", "stopped"}


def _wait_while_all_live(workers: Sequence[Child], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and all(child.is_alive for child in workers):
        time.sleep(0.01)
