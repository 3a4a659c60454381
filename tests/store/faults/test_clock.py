"""A wall clock that is set, by an hour."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from .clocks import Clock, PostgresClock, SqliteClock
from .places import Place, Places
from .sweep import Start
from .waiting import until
from .watch import Watch
from .work import STAGES, Job, Trouble

HOUR = 3600.0
SHIFTS = (HOUR, -HOUR, 0.0)  # from the true time
LEASE, HEARTBEAT = 1.0, 0.4
ITEMS = 100


def job_at(place: Place, gate: Path) -> Job:
    """A run that does not end before its gate is there: the last stage waits for it."""
    items = tuple(range(ITEMS))
    return Job(
        url=place.url,
        directory=place.directory,
        items=items,
        store={"lease": LEASE, "heartbeat": HEARTBEAT},
        troubles=tuple(Trouble(item=str(item), stage="grading", held_by=str(gate)) for item in items),
    )


def wait_for_beats(watch: Watch) -> None:
    """Wait until all workers have been marked for so long that they judge others."""
    last = max(watch.beats())
    until("they judge others", lambda: min(watch.beats()) > last + LEASE + 2 * HEARTBEAT)


def jump(clock: Clock, seconds: float, watch: Watch) -> None:
    """Let the clock be so much ahead, while they do, and wait until all have been marked by it."""
    wait_for_beats(watch)
    last = watch.beats()[0]
    clock.shift(seconds)
    until("they are marked by it", lambda: min(abs(beat - last) for beat in watch.beats()) > HOUR / 2)


def check(job: Job, watch: Watch, workers: int) -> None:
    """Nobody was taken for dead, and nothing was done twice."""
    snapshot = watch.check(job.items)
    assert [worker.ended_as for worker in snapshot.workers] == ["stopped"] * workers
    assert watch.ledger.counts() == Counter({(str(item), stage): 1 for item in job.items for stage in STAGES})


@pytest.mark.slow
def test_clock_of_postgres_is_set(on_postgres: Places, start: Start, tmp_path: Path) -> None:
    """No worker takes another for dead because the clock jumped, forwards or backwards."""
    clock = PostgresClock(on_postgres(), "place_1")
    watch = Watch(clock.place)
    job = job_at(clock.place, tmp_path / "gate")
    children = [start(job), start(job)]
    until("both work", lambda: len({call.pid for call in watch.ledger.calls()}) == 2)
    for shift in SHIFTS:
        jump(clock, shift, watch)
    wait_for_beats(watch)
    (tmp_path / "gate").touch()
    for child in children:
        child.finish()
    check(job, watch, 2)


@pytest.mark.slow
def test_clock_of_sqlite_is_set(on_sqlite: Places, start: Start, tmp_path: Path) -> None:
    """A run does not mind that the clock jumps, forwards or backwards."""
    place = on_sqlite()
    clock = SqliteClock(str(tmp_path / "clock"))
    clock.shift(0)
    watch = Watch(place)
    job = job_at(place, tmp_path / "gate")
    child = start(job, clock)
    until("it works", watch.ledger.calls)
    for shift in SHIFTS:
        jump(clock, shift, watch)
    (tmp_path / "gate").touch()
    child.finish()
    check(job, watch, 1)
