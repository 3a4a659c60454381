"""SIGSTOP for longer than the lease, then SIGCONT."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from .children import Child
from .places import Place, Places
from .points import SignalAt
from .sweep import Start
from .waiting import until
from .watch import Snapshot, Watch
from .work import Job, Trouble

LEASE, HEARTBEAT = 0.8, 0.2
CHECKPOINT, BEAT = "after INSERT INTO rxpipe_checkpoints", "after UPDATE rxpipe_workers SET heartbeat_at"
LOCKED = "after SELECT rxpipe_items.item_key, rxpipe_items.state, "  # of a batch
IN_TRANSACTIONS = [
    (LOCKED, 3),
    ("after UPDATE rxpipe_items SET state", 3),
    ("after INSERT INTO questions", 1),
    (CHECKPOINT, 3),
    ("after WITH picked", 2),
    (BEAT, 1),
]


def job_at(place: Place, *, seconds: float = 0.02) -> Job:
    store = {"lease": LEASE, "heartbeat": HEARTBEAT}
    return Job(url=place.url, directory=place.directory, items=tuple(range(40)), seconds=seconds, store=store)


def is_stopped(child: Child) -> bool:
    assert child.is_alive, f"it came by no such place\n{child.said()}"
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def taken_over(job: Job, watch: Watch, start: Start, what: str, number: int) -> tuple[Child, Snapshot]:
    """A worker that was stopped at a place, and what there was when another one had finished the run."""
    behind = CHECKPOINT if what == BEAT else ""  # a heartbeat may come before there are items
    stopped = start(job, SignalAt(number=number, signal=signal.SIGSTOP, what=what, behind=behind))
    until("it is stopped", lambda: is_stopped(stopped))
    watch.look()
    start(job).finish(20)
    snapshot = watch.check(job.items)
    assert any(item.crashes for item in snapshot.items.values())
    return stopped, snapshot


def wake(stopped: Child, watch: Watch) -> Snapshot:
    """Let it go on to its end; what there is then."""
    stopped.signal(signal.SIGCONT)
    report = stopped.finish()
    assert report["cancelled"]
    assert not report["failed"]
    return watch.check(stopped.job.items, zombies=[stopped.pid])


@pytest.mark.slow
def test_stopped_between_transactions(on_postgres: Places, start: Start) -> None:
    """Another worker takes over the items of a stopped one, which changes nothing of them when it wakes."""
    place = on_postgres()
    watch = Watch(place)
    stopped, before = taken_over(job_at(place), watch, start, "after COMMIT", 14)
    after = wake(stopped, watch)
    assert after.items == before.items
    assert after.checkpoints == before.checkpoints
    assert after.failures == before.failures
    assert after.rows == before.rows


@pytest.mark.slow
@pytest.mark.parametrize(("what", "number"), IN_TRANSACTIONS)
def test_stopped_in_a_transaction(on_postgres: Places, start: Start, what: str, number: int) -> None:
    """The same where the stopped worker was in a transaction, which holds locks."""
    place = on_postgres()
    watch = Watch(place)
    job = job_at(place, seconds=0.1 if what == BEAT else 0.02)  # there are items yet when the next heartbeat comes
    stopped, before = taken_over(job, watch, start, what, number)
    after = wake(stopped, watch)
    assert after.items == before.items
    assert after.checkpoints == before.checkpoints
    assert after.failures == before.failures
    assert after.rows == before.rows


@pytest.mark.slow
def test_zombie_soon_calls_no_more(on_postgres: Places, start: Start) -> None:
    """A worker that wakes makes no calls for items that it has lost, once it has had the time to notice."""
    place = on_postgres()
    watch = Watch(place)
    stopped, _ = taken_over(job_at(place, seconds=0.1), watch, start, "after COMMIT", 14)
    woken = time.monotonic_ns()
    wake(stopped, watch)
    noticed = woken + int((2 * HEARTBEAT + 0.4) * 1e9)
    assert [call for call in watch.late() if call.time > noticed] == []


@pytest.mark.slow
def test_zombie_does_not_finish_the_run_again(on_postgres: Places, start: Start, tmp_path: Path) -> None:
    """A worker that ended nothing leaves the time at which the run was finished as it was."""
    place = on_postgres()
    watch = Watch(place)
    gate = tmp_path / "gate"
    items = tuple(range(6))
    troubles = tuple(Trouble(item=str(item), stage="grading", held_by=str(gate)) for item in items)
    job = replace(job_at(place), items=items, troubles=troubles)
    stopped = start(job)
    until("it grades", lambda: any(call.stage == "grading" for call in watch.ledger.calls()))
    stopped.signal(signal.SIGSTOP)
    until("it is stopped", lambda: is_stopped(stopped))
    gate.touch()
    start(job).finish(20)
    before = watch.check(items)
    assert wake(stopped, watch).runs == before.runs


@pytest.mark.slow
def test_all_stopped_at_once(on_postgres: Places, start: Start, tmp_path: Path) -> None:
    """After all were stopped, as on a machine that slept, none takes another for dead."""
    place = on_postgres()
    watch = Watch(place)
    gate = tmp_path / "gate"
    items = tuple(range(100))
    troubles = tuple(Trouble(item=str(item), stage="grading", held_by=str(gate)) for item in items)
    job = replace(job_at(place, seconds=0.001), items=items, troubles=troubles)
    workers = [start(job), start(job)]
    until("both work", lambda: len({call.pid for call in watch.ledger.calls()}) == len(workers))
    begun = watch.beats()
    until("both judge others", lambda: min(watch.beats()) > max(begun) + LEASE + 2 * HEARTBEAT)
    for worker in workers:
        worker.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    until("their leases have run out", lambda: time.monotonic() > stopped + 2 * LEASE)
    last = watch.beats()
    for worker in workers:
        worker.signal(signal.SIGCONT)
    until("both are marked", lambda: min(watch.beats()) > max(last) + LEASE + 2 * HEARTBEAT)
    gate.touch()
    for worker in workers:
        worker.finish()
    snapshot = watch.check(items)
    assert [worker.ended_as for worker in snapshot.workers] == ["stopped", "stopped"]
