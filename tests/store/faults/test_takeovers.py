"""Items that change hands between two workers, without processes: each check of the store by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, make_url, select, update
from sqlalchemy.exc import DBAPIError, OperationalError

from rxpipe.store.commits.records import failed_call
from rxpipe.store.items.lease import Look
from rxpipe.store.items.process_identity import this_process
from rxpipe.store.schema.database import Database
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, WORKERS, db_now

from .clocks import PostgresClock
from .places import Place
from .workers import QUESTIONS, SECONDS, Worker, checkpoint, ended, workers


class Away(ConnectionError):
    """The connection is cut."""


@pytest.fixture
def two(store_url: str) -> Iterator[list[Worker]]:
    """Two workers on each database in turn."""
    with workers(store_url) as made:
        yield made


@pytest.fixture
def two_on_postgres(postgres_url: str) -> Iterator[list[Worker]]:
    """Two workers that may be in transactions at once; none waits for long."""
    with workers(postgres_url, stuck_after=5) as made:
        yield made


def take_over(former: Worker, worker: Worker) -> None:
    """Let one be taken for dead by the other."""
    former.fall_silent()
    worker.judge()


@pytest.mark.parametrize("claimed", [False, True])
def test_what_a_zombie_commits_is_discarded(two: list[Worker], *, claimed: bool) -> None:
    """Whether its item waits or another has it; that one's result is kept, and a row is written once."""
    zombie, worker = two
    (old,) = zombie.new(1)
    take_over(zombie, worker)
    new = worker.ready() if claimed else []
    assert zombie.commit(checkpoint(old, 0, "zombie"), ended(old, "zombie")) == ["cancelled"]
    assert worker.all(CHECKPOINTS) == worker.all(QUESTIONS) == []
    (claim,) = new or worker.ready()
    assert worker.commit(checkpoint(claim, 0, "worker"), ended(claim, "worker")) == ["written"]
    assert [row.output for row in worker.all(CHECKPOINTS)] == ['"worker0"']
    assert [row.value for row in worker.all(QUESTIONS)] == ["worker"]


def test_a_zombie_does_not_write_what_another_has_written(two: list[Worker]) -> None:
    """Not even if it brings the item to where it is."""
    zombie, worker = two
    (old,) = zombie.new(1)
    take_over(zombie, worker)
    (new,) = worker.ready()
    worker.commit(checkpoint(new, 0, "worker"), ended(new, "worker"))
    before = worker.all(ITEMS)
    assert zombie.commit(checkpoint(old, 0, "zombie"), ended(old, "zombie")) == ["cancelled"]
    assert worker.all(ITEMS) == before
    assert [row.value for row in worker.all(QUESTIONS)] == ["worker"]


def test_a_taken_item_goes_on_behind_its_checkpoints(two: list[Worker]) -> None:
    """With what the last of them holds, and a mark for the crash."""
    former, worker = two
    (old,) = former.new(1)
    former.commit(checkpoint(old, 0), checkpoint(old, 1))
    take_over(former, worker)
    (new,) = worker.ready()
    assert (new.stage, new.value, new.error) == (2, "1", None)
    assert worker.item() == ("running", 2, new.fence, 1)


def test_an_item_that_comes_back(two: list[Worker]) -> None:
    """The worker that had it first, and has it again, commits by its new claim only."""
    one, other = two
    (first,) = one.new(1)
    take_over(one, other)
    other.ready()
    take_over(other, one)
    (again,) = one.ready()
    assert first.lost
    assert not again.lost
    assert one.commit(ended(first, "first"), ended(again, "again")) == ["cancelled", "written"]
    assert [row.value for row in one.all(QUESTIONS)] == ["again"]


def test_the_fence_rises_at_every_handover(two: list[Worker]) -> None:
    """So that no two claims of an item are alike, however it came from one to the other."""
    one, other = two
    fences: list[int] = []

    def note() -> None:
        fences.append(one.item()[2])

    one.new(1)
    note()
    take_over(one, other)
    note()
    claims = one.ready()
    note()
    one.in_flight.end(claims)
    one.recover()
    note()
    other.ready()
    note()
    other.release()
    note()
    one.ready()
    note()
    assert fences == sorted(set(fences))


@pytest.mark.skipif(this_process() is None, reason="the system does not tell processes apart")
def test_an_ended_process_is_not_waited_for(two: list[Worker]) -> None:
    """Others of its machine need not wait for its lease."""
    ended_one, reaper = two
    ended_one.new(1)
    machine = str(this_process()).rsplit(" ", 2)[0]
    with reaper.database.transaction() as connection:
        mine = update(WORKERS).where(WORKERS.c.id == ended_one.lease.owner)
        connection.execute(mine.values(process=f"{machine} 4194304 1"))
    reaper.reap()
    assert reaper.item() == ("ready", 0, 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2])
def test_stopped_behind_the_rows(postgres_url: str, rows: int) -> None:
    """Its transaction is ended, and with it the locks, also where many rows went in a pipeline."""
    with workers(postgres_url, stuck_after=0.2) as (stopped, _):
        other = Database(postgres_url)
        claims = stopped.new(*range(rows))

        def stop(connection: Connection, cursor: object, statement: str, *rest: object) -> None:
            if statement.startswith("INSERT INTO results"):
                with other.transaction(wait=5) as waiting:
                    waiting.execute(select(ITEMS.c.item_key).with_for_update())

        event.listen(stopped.database.engine, "after_cursor_execute", stop)
        with pytest.raises(DBAPIError, match="idle-in-transaction"):
            stopped.commit(*map(ended, claims))
        other.close()


def test_the_heartbeat_tells_what_is_lost(two: list[Worker]) -> None:
    """So that a zombie that claims nothing makes no calls for nothing either."""
    zombie, worker = two
    (claim,) = zombie.new(1)
    take_over(zombie, worker)
    with zombie.database.transaction() as connection:
        zombie.lease.beat(connection)
    assert claim.lost


def test_the_clock_jumps(postgres_url: str, tmp_path: Path) -> None:
    """Who has seen that waits for a lease's time before it judges anybody."""
    schema = f"{make_url(postgres_url).query['options']}".rpartition("=")[2]
    clock = PostgresClock(Place(postgres_url, str(tmp_path)), schema)
    with workers(clock.place.url) as (worker, reaper):
        worker.new(1)
        reaper.judge()
        clock.shift(3600)
        reaper.reap()
        assert worker.item() == ("running", 0, 1, 0)
        reaper.judge()
        assert worker.item() == ("ready", 0, 2, 1)


def test_a_reaper_judges_by_the_clock_that_it_saw(two: list[Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was stopped behind its look must not find that all others have been silent since."""
    worker, reaper = two
    worker.new(1)
    reaper.judge()
    with reaper.database.transaction() as connection:
        seen = connection.execute(select(db_now() - 2 * SECONDS)).scalar_one()

    def look(_connection: Connection) -> Look:
        return Look(reaper.time, seen)

    monkeypatch.setattr(reaper.lease, "_look", look)
    worker.fall_silent(2 * SECONDS)
    reaper.reap()
    assert worker.item() == ("running", 0, 1, 0)


def test_nothing_is_kept_of_a_batch_whose_commit_fails(two: list[Worker]) -> None:
    """Neither checkpoints, nor rows, nor what its items have come to."""
    worker, _ = two
    (claim,) = worker.new(1)

    def cut(connection: Connection) -> None:
        if connection.execute(select(ITEMS.c.state)).scalar_one() == "written":
            raise Away

    event.listen(worker.database.engine, "commit", cut)
    with pytest.raises(Away):
        worker.commit(checkpoint(claim, 0), ended(claim))
    event.remove(worker.database.engine, "commit", cut)
    assert worker.item() == ("running", 0, 1, 0)
    assert worker.all(CHECKPOINTS) == worker.all(QUESTIONS) == []


def test_a_batch_that_ended_an_item_ends_it_once(two: list[Worker]) -> None:
    """Committed again, as its answer was lost, it counts no failure twice and writes no row."""
    worker, _ = two
    (claim,) = worker.new(1)
    failed = failed_call(claim, stage="generation", attempt=1, error=ValueError("no"), value=1, final=True)
    worker.commit(failed, ended(claim, error=ValueError("no")))
    before = [worker.all(table) for table in (ITEMS, FAILURES, QUESTIONS)]
    assert worker.commit(failed, ended(claim, error=ValueError("no"))) == ["failed"]
    assert [worker.all(table) for table in (ITEMS, FAILURES, QUESTIONS)] == before


def test_another_end_is_not_taken_for_this_one(two: list[Worker]) -> None:
    """What ends an item at another stage than where it has ended was not committed."""
    worker, _ = two
    (claim,) = worker.new(1)
    worker.commit(checkpoint(claim, 0), checkpoint(claim, 1), ended(claim))
    assert worker.commit(checkpoint(claim, 0), ended(claim)) == ["cancelled"]


def test_an_item_that_is_being_committed_is_not_taken_over(two_on_postgres: list[Worker]) -> None:
    """Whoever wants to take it waits, and finds it done."""
    slow, other = two_on_postgres
    (claim,) = slow.new(1)
    other.judge()
    slow.fall_silent()

    def reap() -> None:
        with pytest.raises(OperationalError, match="lock timeout"):
            other.reap(wait=0.02)

    slow.rows.then = reap
    assert slow.commit(ended(claim)) == ["written"]
    other.reap()
    assert slow.item() == ("written", 0, 1, 0)
    assert [row.ended_as for row in other.all(WORKERS) if row.id == slow.lease.owner] == ["lost"]


def test_two_that_claim_at_once_get_different_items(two_on_postgres: list[Worker]) -> None:
    """The second one does not wait for the first."""
    one, other = two_on_postgres
    one.new(1, 2, 3, 4)
    take_over(one, other)
    with one.database.transaction() as connection:
        first = one.claims.waiting(connection, 2, 2) or []
        second = other.ready(2)
    assert [claim.id for claim in first + second] == [1, 2, 3, 4]


def test_a_worker_that_is_claiming_is_not_taken_for_dead(two_on_postgres: list[Worker]) -> None:
    """What it claims would belong to nobody."""
    slow, other = two_on_postgres
    other.judge()
    slow.fall_silent()
    with slow.database.transaction() as connection:
        slow.claims.new(connection, [1], 0)
        other.reap()
    assert [row.ended_as for row in other.all(WORKERS)] == [None, None]
    other.reap()
    assert slow.item() == ("ready", 0, 2, 1)


def lock(database: Database, then: Callable[[], object] = lambda: None) -> None:
    """Lock all items in a transaction, and do something in it."""
    with database.transaction() as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = '5s'")  # so that the test ends in any case
        connection.execute(select(ITEMS.c.item_key).with_for_update())
        then()


def test_a_transaction_that_does_nothing_is_ended(two_on_postgres: list[Worker], postgres_url: str) -> None:
    """So that a worker that was stopped in one does not keep others from its items for ever."""
    one, other = two_on_postgres
    one.new(1)
    stopped = Database(postgres_url, stuck_after=0.1)
    with pytest.raises(DBAPIError, match="due to idle-in-transaction timeout"):
        lock(stopped, lambda: lock(other.database))
    stopped.close()


def test_no_transaction_waits_for_ever(two_on_postgres: list[Worker], postgres_url: str) -> None:
    """For what another one has locked."""
    one, _ = two_on_postgres
    one.new(1)
    waiting = Database(postgres_url, stuck_after=0.1)

    def wait() -> None:
        with pytest.raises(OperationalError, match="lock timeout"):
            lock(waiting)

    lock(one.database, wait)
    waiting.close()
