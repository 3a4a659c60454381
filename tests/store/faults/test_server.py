"""A PostgreSQL server that crashes."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from cluster import Cluster, own_cluster, why_none

from .places import Place
from .sweep import Start
from .waiting import until
from .watch import Watch
from .work import STAGES, Job

CRASHES = 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_server_stopped_and_started_under_load(start: Start, tmp_path: Path, workers: int) -> None:
    """Workers wait for a server that has crashed, commit what they have, lose nothing and make nothing again."""
    reason = why_none()
    if reason is not None:
        pytest.skip(reason)
    with own_cluster() as cluster:
        place = Place(cluster.url, str(tmp_path))
        watch = Watch(place)
        job = Job(
            url=place.url,
            directory=place.directory,
            items=tuple(range(400)),
            seconds=0.01,
            store={"lease": 2, "heartbeat": 0.4},
        )
        children = [start(job) for _ in range(workers)]
        for crash in range(CRASHES):
            _crash(cluster, watch, 60 + 120 * crash)
        for child in children:
            child.finish()
        snapshot = watch.check(job.items)
        assert [worker.ended_as for worker in snapshot.workers] == ["stopped"] * workers
        assert watch.ledger.counts() == Counter({(str(item), stage): 1 for item in job.items for stage in STAGES})


def _crash(cluster: Cluster, watch: Watch, done: int) -> None:
    """Let the server crash once so many items are done, and be away until no call can be made without it."""
    until("they work", lambda: watch.look().states()["written"] > done)
    cluster.stop()
    before, made = -1, 0
    while made > before:
        time.sleep(0.3)  # much longer than a call
        before, made = made, len(watch.ledger.calls())
    cluster.start()
