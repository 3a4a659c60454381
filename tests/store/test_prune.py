"""Which runs are deleted, and that all of them goes, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update

from rxpipe.errors import StoreError
from rxpipe.store.maintenance import prune as pruning
from rxpipe.store.maintenance.prune import Pruned, chosen, extent, prune
from rxpipe.store.queries.existing_store import opened
from rxpipe.store.queries.history import run, runs
from rxpipe.store.schema.tables import CALLS, CHECKPOINTS, FAILURES, ITEMS, OF_LOOKERS, RUNS, SNAPSHOTS, WORKERS

from .stores import IDS, bank, connected, live, looking

pytest_plugins = ("store.store_fixtures",)

BANK = Pruned(items=10, checkpoints=25, failures=6, workers=1)


def pruned(url: str, number: int) -> Pruned:
    """Prune a run."""
    with opened(url) as engine:
        return prune(engine, number)


def numbers(url: str, **conditions: Any) -> list[int]:
    """The numbers of the runs that conditions choose."""
    with looking(url) as connection:
        return [one.id for one in chosen(connection, runs(connection), **conditions)]


def names(url: str) -> list[str]:
    """The names of all runs."""
    with looking(url) as connection:
        return [one.name for one in runs(connection)]


def row_counts(url: str) -> list[int]:
    """How many rows each table of the store has."""
    with connected(url) as connection:
        tables = (RUNS, WORKERS, ITEMS, CHECKPOINTS, FAILURES, *OF_LOOKERS)
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def set_age(url: str, number: int, days: float) -> None:
    """Nobody has worked on a run for so many days."""
    ago = days * 86_400
    with connected(url) as connection:
        connection.execute(
            update(RUNS)
            .where(RUNS.c.id == number)
            .values(created_at=RUNS.c.created_at - ago, finished_at=RUNS.c.finished_at - ago)
        )
        connection.execute(
            update(WORKERS).where(WORKERS.c.run_id == number).values(heartbeat_at=WORKERS.c.heartbeat_at - ago)
        )
        connection.commit()


def test_all_of_a_run_goes(bank_url: str) -> None:
    """Nothing is left of the run, and what was deleted is told."""
    assert pruned(bank_url, 1) == BANK
    assert row_counts(bank_url) == [0] * 10


def test_results_stay(bank_url: str) -> None:
    """The rows that the run has written are the user's."""
    pruned(bank_url, 1)
    with connected(bank_url) as connection:
        assert connection.execute(text("SELECT count(*) FROM bank")).scalar_one() == len(IDS)


def test_other_runs_stay(three_url: str) -> None:
    """Nothing of another run is deleted."""
    with looking(three_url) as connection:
        before = [run(connection, 1), run(connection, 3)]
        parts = [extent(connection, one) for one in before]
    pruned(three_url, 2)
    with looking(three_url) as connection:
        assert runs(connection) == before
        assert [extent(connection, one) for one in before] == parts


def test_extent(bank_url: str) -> None:
    """What would be deleted is what is deleted."""
    with looking(bank_url) as connection:
        assert extent(connection, run(connection)) == BANK


def test_in_parts(bank_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction deletes more than so many items, and what was deleted is the same."""
    monkeypatch.setattr(pruning, "_CHUNK", 3)
    commits: list[Any] = []
    with connected(bank_url) as connection:  # how many rows these are depends on how quick the run was
        times = [connection.execute(select(table.c.at)).scalars().all() for table in (CALLS, SNAPSHOTS)]
    parts = sum(len(set(each)) // 4 + 1 for each in times)
    with opened(bank_url) as engine:
        event.listen(engine, "commit", commits.append)
        assert prune(engine, 1) == BANK
    assert len(commits) == 1 + 4 + parts + 1  # the name; 3, 3, 3 and 1 items; calls and snapshots; the run
    assert row_counts(bank_url) == [0] * 10


@pytest.mark.slow
def test_interrupted(bank_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a run that was half deleted is not taken for a run to go on with, and can be deleted."""
    monkeypatch.setattr(pruning, "_CHUNK", 3)
    with opened(bank_url) as engine:

        def interrupt(connection: Any) -> None:
            if row_counts(bank_url)[2] < 8:
                raise KeyboardInterrupt

        event.listen(engine, "begin", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prune(engine, 1)
    assert names(bank_url) == ["pruned 1: bank"]
    assert bank(bank_url).run([1]).run == 2
    assert pruned(bank_url, 1).items == 7
    assert names(bank_url) == ["bank"]


@pytest.mark.slow
def test_live_run(store_url: str) -> None:
    """A run that a worker is busy with is not touched."""
    with live(store_url):
        before = row_counts(store_url)
        with pytest.raises(StoreError, match=r"run 1 is running, by process \d+ on .*: it must end first"):
            pruned(store_url, 1)
        assert (row_counts(store_url), names(store_url)) == (before, ["bank"])


def test_no_such_run(bank_url: str) -> None:
    """A run that is not there is told."""
    with pytest.raises(StoreError, match="there is no run 7; known: 1"):
        pruned(bank_url, 7)


def test_long_name(bank_url: str) -> None:
    """A name as long as may be is no obstacle."""
    with connected(bank_url) as connection:
        connection.execute(update(RUNS).values(name="n" * 255))
        connection.commit()
    assert pruned(bank_url, 1) == BANK


def test_named(three_url: str) -> None:
    """Runs are chosen by their numbers."""
    assert numbers(three_url, numbers={1, 3}) == [1, 3]


def test_finished(three_url: str) -> None:
    """Only finished ones."""
    assert numbers(three_url, finished=True) == [1, 2]


def test_keep(three_url: str) -> None:
    """The latest of each name are kept."""
    assert [numbers(three_url, keep=keep) for keep in (0, 1, 2)] == [[1, 2, 3], [1], []]


def test_older_than(three_url: str) -> None:
    """Only those that nobody has worked on for so long."""
    set_age(three_url, 2, days=3)
    assert [numbers(three_url, older_than=days) for days in (0, 2.9, 3.1)] == [[1, 2, 3], [2], []]


def test_an_old_run_that_was_worked_on(three_url: str) -> None:
    """A run is not old because it began long ago."""
    with connected(three_url) as connection:
        connection.execute(update(RUNS).values(created_at=0.0, finished_at=None))
        connection.commit()
    assert numbers(three_url, older_than=1) == []


def test_all_conditions_apply(three_url: str) -> None:
    """With several conditions, all must hold."""
    for number in (1, 2, 3):
        set_age(three_url, number, days=3)
    assert numbers(three_url, numbers={1, 3}, finished=True, older_than=1, keep=1) == [1]
