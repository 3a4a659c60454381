"""Who is taken for dead, and what becomes of the items."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from rxpipe.errors import StoreError
from rxpipe.store.commits.commits import Commits
from rxpipe.store.commits.outputs import encode
from rxpipe.store.commits.records import Checkpoint
from rxpipe.store.items import process_identity
from rxpipe.store.items.claims import TRIES_ALONE, Claims
from rxpipe.store.items.lease import Lease, Look, certainly_dead, reap
from rxpipe.store.items.process_identity import is_gone, this_process
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.migrations import migrate
from rxpipe.store.schema.tables import ITEMS, RUNS, WORKERS, db_now

RUN = 1
SECONDS = 60.0
_ON_LINUX = pytest.mark.skipif(this_process() is None, reason="only Linux tells of processes what is needed")


class Team:
    """Workers of one run, whose steady clock is set by the test."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.time = 0.0
        with database.transaction() as connection:
            migrate(connection)
            connection.execute(insert(RUNS).values(id=RUN, name="x", generation=1, stages="[]", created_at=0.0))

    def worker(self) -> Lease:
        lease = Lease(self.database, RUN, seconds=SECONDS, heartbeat=10.0, now=lambda: self.time)
        with self.database.transaction() as connection:
            lease.register(connection)
        return lease

    def claims(self, lease: Lease, *, max_crashes: int = 3) -> Claims:
        return Claims(self.database.engine.dialect.name, RUN, lease, max_crashes=max_crashes)

    def claim(self, lease: Lease, *ids: int) -> None:
        with self.database.transaction() as connection:
            self.claims(lease).new(connection, ids, 0)

    def beat(self, *leases: Lease, seconds: float = 0.0) -> None:
        """Let time pass for the steady clock, and for the database's so far as it is kept in rows; then mark."""
        self.time += seconds
        with self.database.transaction() as connection:
            for lease in leases:
                lease.beat(connection)
                lease.reap_others(connection)

    def silence(self, lease: Lease, seconds: float) -> None:
        """It was marked last so many seconds ago."""
        with self.database.transaction() as connection:
            mine = update(WORKERS).where(WORKERS.c.id == lease.owner)
            connection.execute(mine.values(heartbeat_at=db_now() - seconds))

    def reap(self, lease: Lease) -> None:
        with self.database.transaction() as connection:
            lease.reap_others(connection)

    def items(self) -> dict[str, tuple[str, int, int]]:
        """State, fence and crashes of each item."""
        with self.database.transaction() as connection:
            rows = connection.execute(select(ITEMS)).all()
        return {row.item_key: (row.state, row.fence, row.crashes) for row in rows}

    def ended(self) -> dict[str, str | None]:
        with self.database.transaction() as connection:
            return {row.id: row.ended_as for row in connection.execute(select(WORKERS)).all()}


@pytest.fixture
def team(store_url: str) -> Iterator[Team]:
    database = Database(store_url)
    yield Team(database)
    database.close()


def unbroken(lease: Lease, last: Look, look: Look) -> bool:
    """The two clocks are compared from mark to mark; here the database's stands still."""
    return True


def judge(team: Team, monkeypatch: pytest.MonkeyPatch) -> Lease:
    """A worker that has been marked for as long as a lease, without a break."""
    lease = team.worker()
    monkeypatch.setattr(Lease, "_is_unbroken", unbroken)
    team.beat(lease)
    team.beat(lease, seconds=SECONDS)
    return lease


def test_a_silent_worker_loses_its_items(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are ready again, behind a higher fence, with a mark for the crash."""
    silent, watching = team.worker(), judge(team, monkeypatch)
    team.claim(silent, 1, 2)
    team.silence(silent, SECONDS + 1)
    team.reap(watching)
    assert team.items() == {"1": ("ready", 2, 1), "2": ("ready", 2, 1)}
    assert team.ended() == {silent.owner: "lost", watching.owner: None}


def test_a_worker_is_not_silent_before_its_lease_is_over(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even a second before."""
    quiet, watching = team.worker(), judge(team, monkeypatch)
    team.claim(quiet, 1)
    team.silence(quiet, SECONDS - 1)
    team.reap(watching)
    assert team.items() == {"1": ("running", 1, 0)}


def test_nobody_is_judged_by_a_newcomer(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one back after an outage must not take everybody for dead."""
    monkeypatch.setattr(Lease, "_is_unbroken", unbroken)
    silent, newcomer = team.worker(), team.worker()
    team.claim(silent, 1)
    team.silence(silent, 2 * SECONDS)
    team.beat(newcomer)
    team.beat(newcomer, seconds=SECONDS - 1)
    team.reap(newcomer)
    assert team.items() == {"1": ("running", 1, 0)}
    team.beat(newcomer, seconds=1)
    team.reap(newcomer)
    assert team.items() == {"1": ("ready", 2, 1)}


def test_a_late_mark_begins_anew(team: Team) -> None:
    """After more than half a lease without one, a worker waits for a lease before it judges others."""
    silent, late = team.worker(), team.worker()
    team.claim(silent, 1)
    team.silence(silent, 2 * SECONDS)
    team.beat(late)
    team.beat(late, seconds=SECONDS / 2 + 1)
    team.beat(late, seconds=SECONDS / 2)
    team.reap(late)
    assert team.items() == {"1": ("running", 1, 0)}


def test_a_mark_in_the_future_is_none(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's clock was set back since: a dead worker must not live until it has caught up."""
    dead, watching = team.worker(), judge(team, monkeypatch)
    team.claim(dead, 1)
    team.silence(dead, -3600)
    team.reap(watching)
    assert team.items() == {"1": ("ready", 2, 1)}


def test_the_dead_find_out(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was taken for dead claims under another name, which can be lost anew."""
    zombie, watching = team.worker(), judge(team, monkeypatch)
    former = zombie.owner
    team.silence(zombie, SECONDS + 1)
    team.reap(watching)
    team.claim(zombie, 1)
    assert zombie.owner != former
    assert team.ended() == {former: "lost", zombie.owner: None, watching.owner: None}
    assert team.items() == {"1": ("running", 1, 0)}


def test_a_run_that_is_gone_has_no_workers(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was taken for dead does not go on with a run that was pruned since."""
    zombie, watching = team.worker(), judge(team, monkeypatch)
    team.silence(zombie, SECONDS + 1)
    team.reap(watching)
    with team.database.transaction() as connection:
        connection.execute(delete(RUNS))
    with pytest.raises(StoreError, match="run 1 is gone"):
        team.claim(zombie, 1)
    assert team.items() == {}


def test_releasing_leaves_no_mark(team: Team) -> None:
    """What is unfinished is ready again, and nothing more can be claimed."""
    lease = team.worker()
    team.claim(lease, 1, 2)
    with team.database.transaction() as connection:
        assert lease.release(connection) == 2
    assert team.items() == {"1": ("ready", 2, 0), "2": ("ready", 2, 0)}
    team.claim(lease, 3)
    with team.database.transaction() as connection:
        assert team.claims(lease).waiting(connection, 10, 10) == []
    assert set(team.items()) == {"1", "2"}


def test_the_certainly_dead_need_not_wait(team: Team) -> None:
    """A worker whose process has ended loses its items at once, one whose process is there does not."""
    dead, alive = team.worker(), team.worker()
    team.claim(dead, 1)
    team.claim(alive, 2)
    with team.database.transaction() as connection:
        ended = f"{(this_process() or 'x 1 1').rsplit(' ', 2)[0]} 4194304 1"
        connection.execute(update(WORKERS).where(WORKERS.c.id == dead.owner).values(process=ended))
        assert certainly_dead(connection, RUN) == [dead.owner]
    team.reap(alive)
    assert team.items() == {"1": ("ready", 2, 1), "2": ("running", 1, 0)}


def test_items_of_ended_workers_are_found(team: Team) -> None:
    """Even if one was left by a worker that had ended before."""
    lease = team.worker()
    team.claim(lease, 1)
    with team.database.transaction() as connection:
        connection.execute(update(WORKERS).values(ended_at=db_now(), ended_as="stopped"))
        reap(connection, RUN, [])
    assert team.items()["1"][0] == "ready"


def test_suspects_are_given_out_apart(team: Team) -> None:
    """Fewer at a time the more workers were lost with them, and at last alone."""
    lease = team.worker()
    team.claim(lease, *range(100))
    claims = team.claims(lease)
    groups: list[tuple[int, bool]] = []
    with team.database.transaction() as connection:
        for crashes in range(7):
            connection.execute(update(ITEMS).values(state="ready", owner=None, crashes=crashes))
            given = claims.waiting(connection, 20, 40) or []
            assert [one.id for one in given] == list(range(len(given)))
            groups.append((len(given), given[0].quarantined))
    assert groups == [(20, False), (20, False), (10, True), (1, True), (1, True), (1, True), (20, False)]


def test_the_most_suspicious_come_first(team: Team) -> None:
    """And by themselves, so not to a worker that has something in hand."""
    lease = team.worker()
    team.claim(lease, 1, 2, 3)
    with team.database.transaction() as connection:
        connection.execute(update(ITEMS).values(state="ready", owner=None, crashes=2))
        connection.execute(update(ITEMS).where(ITEMS.c.item_key == "2").values(crashes=3))
        claims = team.claims(lease)
        assert claims.waiting(connection, 10, 40, idle=False) is None
        assert [one.id for one in claims.waiting(connection, 10, 40) or ()] == [2]
        assert [one.id for one in claims.waiting(connection, 10, 40) or ()] == [1, 3]


def test_an_item_that_killed_alone_has_failed(team: Team) -> None:
    """It is given out once more, not to be called with, so that its row says why."""
    lease = team.worker()
    team.claim(lease, 1)
    with team.database.transaction() as connection:
        connection.execute(update(ITEMS).values(state="ready", owner=None, crashes=6))
        (failed,) = team.claims(lease).waiting(connection, 10, 40) or []
    assert str(failed.error) == "6 workers died while they had it, the last 3 with nothing else in hand"


def test_a_claim_whose_answer_was_lost_is_given_back(team: Team) -> None:
    """Not what is in hand, nor what other workers have."""
    lease, other = team.worker(), team.worker()
    team.claim(lease, 1, 2)
    team.claim(other, 3)
    with team.database.transaction() as connection:
        team.claims(lease).recover(connection, ["1"])
    assert team.items() == {"1": ("running", 1, 0), "2": ("ready", 2, 0), "3": ("running", 1, 0)}


@pytest.mark.parametrize("error", [None, PermissionError()])
def test_a_process_that_is_hidden_is_not_gone(error: OSError | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's may not be signalled; another service's may, if both have the same user."""
    this = this_process()

    def signalled(pid: int, number: int) -> None:
        if error is not None:
            raise error

    def unseen(pid: int) -> None:
        return None

    monkeypatch.setattr(os, "kill", signalled)
    monkeypatch.setattr(process_identity, "_fields", unseen)
    assert not is_gone(this)


@_ON_LINUX
def test_a_process_that_is_hidden_and_has_ended_is_gone() -> None:
    """Nobody has its number."""
    place = str(this_process()).rsplit(" ", 2)[0]
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert is_gone(f"{place} {ended.pid} 1")


@_ON_LINUX
def test_a_zombie_is_gone() -> None:
    """It runs no more, though its number is taken until somebody waits for it."""
    place = str(this_process()).rsplit(" ", 2)[0]
    child = subprocess.Popen(["sleep", "600"])
    started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert not is_gone(f"{place} {child.pid} {started}")
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(f"{place} {child.pid} {started}")
    child.wait()


def test_this_process_is_not_gone() -> None:
    """One that is unknown is not either."""
    assert not is_gone(this_process())
    assert not is_gone(None)
    assert not is_gone("another-machine 4026531836 1 1")


def test_an_item_that_moves_on_is_acquitted_of_the_stage_before(team: Team) -> None:
    """Workers that die one in each stage were killed by something else: it is tried alone, and not convicted."""
    lease = team.worker()
    commits = Commits(team.database, RUN, None, max_crashes=3)
    team.claim(lease, 1)
    with team.database.transaction() as connection:
        connection.execute(update(ITEMS).values(state="ready", owner=None, crashes=3))
    for stage in range(2 * TRIES_ALONE):
        with team.database.transaction() as connection:
            (claim,) = team.claims(lease).waiting(connection, 10, 40) or []
        assert claim.error is None
        assert claim.quarantined
        commits.commit([Checkpoint(claim=claim, stage=stage, attempts=1, output=encode(stage))])
        with team.database.transaction() as connection:  # its worker dies in the next stage
            dead = update(ITEMS).values(state="ready", owner=None, crashes=ITEMS.c.crashes + 1)
            connection.execute(dead)


def test_an_item_that_dies_in_one_stage_is_convicted(team: Team) -> None:
    """After three workers in a row that had it alone."""
    lease = team.worker()
    team.claim(lease, 1)
    errors: list[bool] = []
    with team.database.transaction() as connection:
        connection.execute(update(ITEMS).values(state="ready", owner=None, crashes=3))
        for _ in range(TRIES_ALONE + 1):
            (claim,) = team.claims(lease).waiting(connection, 10, 40) or []
            errors.append(claim.error is not None)
            connection.execute(update(ITEMS).values(state="ready", owner=None, crashes=ITEMS.c.crashes + 1))
    assert errors == [False] * TRIES_ALONE + [True]


@pytest.mark.parametrize(("others", "more"), [(1, 1), (2, 2), (7, 3), (31, 5), (500, 5)])
def test_where_workers_die_without_an_item_it_is_tried_more_often(team: Team, others: int, more: int) -> None:
    """Whatever kills those may kill one that has it alone: three in a row may be a coincidence then."""
    lease = team.worker()
    team.claim(lease, 1)
    tries = 0
    with team.database.transaction() as connection:
        connection.execute(update(ITEMS).values(state="ready", owner=None, crashes=3))
        row = {"run_id": RUN, "host": "", "pid": 1, "lease": 1, "started_at": 0, "heartbeat_at": 0, "ended_as": "lost"}
        rows = [row | {"id": str(number)} for number in range(others + 3)]
        connection.execute(insert(WORKERS), rows)
        while not (claim := (team.claims(lease).waiting(connection, 10, 40) or [])[0]).error:
            tries += 1
            connection.execute(update(ITEMS).values(state="ready", owner=None, crashes=ITEMS.c.crashes + 1))
            connection.execute(insert(WORKERS).values(row | {"id": f"alone {tries}"}))
    assert tries == TRIES_ALONE + more
    assert str(claim.error) == f"{3 + tries} workers died while they had it, the last {tries} with nothing else in hand"
