"""Another program that holds the lock of the SQLite file."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy import make_url

from .places import Places
from .sweep import Start
from .waiting import until
from .watch import Watch
from .work import Job, Trouble

SECONDS = 20.0  # four times as long as SQLite itself waits for the lock


@pytest.mark.slow
def test_file_locked_by_another_program(on_sqlite: Places, start: Start) -> None:
    """A run waits for the lock, for much longer than SQLite does, and nothing is lost or made again."""
    place = on_sqlite()
    watch = Watch(place)
    unlocked = Path(place.directory) / "unlocked"
    job = Job(
        url=place.url,
        directory=place.directory,
        items=tuple(range(300)),
        seconds=0.01,
        troubles=(
            Trouble(item="200", stage="generation", held_by=str(unlocked)),
        ),  # so that the run does not end before
    )
    child = start(job)
    until("some are done", lambda: watch.look().states()["written"] > 5)
    other = sqlite3.connect(str(make_url(place.url).database), timeout=30, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        before = watch.snapshot()
        time.sleep(SECONDS)  # this is the fault itself
        assert watch.snapshot() == before
        assert child.is_alive, child.said()
        other.execute("ROLLBACK")
        unlocked.touch()
    finally:
        other.close()
    child.finish()
    snapshot = watch.check(job.items)
    assert all(item.crashes == 0 for item in snapshot.items.values())
    assert set(watch.ledger.counts().values()) == {1}
