"""Dead items become ready again, and the next run takes them up where they failed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import pytest
from pipeline_helpers import same
from sqlalchemy import Column, Integer, MetaData, Row, Table, create_engine, select
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.database import default_table
from rxpipe.database.engine import database_option
from rxpipe.errors import StoreError
from rxpipe.store.maintenance.requeue import Family, family, requeue, requeue_rows
from rxpipe.store.queries.existing_store import change, opened
from rxpipe.store.queries.history import RunInfo, run
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS

from .stores import Answer, answer, bank, connected, live, looking

BANK = default_table("bank")
NUMBERS = Table("numbers", MetaData(), Column("id", Integer(), primary_key=True))

pytest_plugins = ("store.store_fixtures",)


def requeued(url: str, number: int | None = None, *, stage: str | None = None, ids: Sequence[str] | None = None) -> int:
    """Requeue, and commit."""
    with opened(url) as engine, change(engine) as connection:
        return requeue(connection, run(connection, number), stage=stage, ids=ids)


def items(url: str) -> dict[str, Row[Any]]:
    """The items, by their keys."""
    with connected(url) as connection:
        return {row.item_key: row for row in connection.execute(select(ITEMS))}


def ready(url: str) -> set[str]:
    """The keys of those that are ready."""
    return {key for key, row in items(url).items() if row.state == "ready"}


def latest(url: str) -> RunInfo:
    """The latest run."""
    with looking(url) as connection:
        return run(connection)


def test_all(bank_url: str) -> None:
    """Without a choice, all failed items are ready again, and no others."""
    assert requeued(bank_url) == 4
    assert ready(bank_url) == {"3", "4", "6", "8"}


def test_state(bank_url: str) -> None:
    """A clean slate: nobody's, under a higher fence, without failures; but the calls made stay counted."""
    before = items(bank_url)["3"]
    requeued(bank_url)
    after = items(bank_url)["3"]
    assert (before.state, before.failures, before.stage, before.attempts) == ("failed", 2, 1, 3)
    assert (after.state, after.owner, after.fence) == ("ready", None, before.fence + 1)
    assert (after.failures, after.crashes, after.last_error) == (0, 0, None)
    assert (after.stage, after.attempts, after.seq) == (before.stage, before.attempts, before.seq)


def test_run_is_unfinished(bank_url: str) -> None:
    """There is something left to do in the run."""
    requeued(bank_url, ids=["3"])
    assert (latest(bank_url).state, latest(bank_url).finished_at) == ("unfinished", None)


def test_checkpoints_stay(bank_url: str) -> None:
    """What stages have returned is kept."""
    with connected(bank_url) as connection:
        before = connection.execute(select(CHECKPOINTS)).all()
    requeued(bank_url)
    with connected(bank_url) as connection:
        assert connection.execute(select(CHECKPOINTS)).all() == before


@pytest.mark.parametrize(("stage", "keys"), [("answering", {"3", "6"}), ("grading", {"4"}), ("database", {"8"})])
def test_stage(bank_url: str, stage: str, keys: set[str]) -> None:
    """Those that failed in a stage, or that the database refused."""
    assert requeued(bank_url, stage=stage) == len(keys)
    assert ready(bank_url) == keys


def test_ids(bank_url: str) -> None:
    """Those that are named, each once."""
    assert requeued(bank_url, ids=["6", "8", "6"]) == 2
    assert ready(bank_url) == {"6", "8"}


@pytest.mark.slow
def test_next_run(bank_url: str) -> None:
    """The next run takes them up at the stage where they failed, with what the stage before had returned."""
    taken: list[Any] = []

    @wraps(answer)
    def works(question: dict[str, Any]) -> Answer:
        taken.append(question["question"])
        return Answer(question["number"], "at last")

    requeued(bank_url, stage="answering")
    report = bank(bank_url, answering=works).run([])
    assert (report.taken, report.written, report.run) == (2, 2, 1)
    assert sorted(taken) == ['what is "3"?', 'what is "6"?']
    assert (latest(bank_url).state, latest(bank_url).written, latest(bank_url).failed) == ("finished", 8, 2)


def test_nothing_to_do(bank_url: str) -> None:
    """Where no item has failed, nothing changes, not even the run's end."""
    assert requeued(bank_url, stage="generation") == 0
    assert latest(bank_url).state == "finished"


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["3", "1"], "item 1 has not failed, it is written"),
        (["9"], "there is no item 9"),
        (["1", "2", "5", "7", "x", "nine", "ten"], r"there is no item|\(and 2 more\)"),
    ],
)
def test_ids_that_are_not_dead(bank_url: str, ids: list[str], told: str) -> None:
    """An ID that has not failed is told with its state, and nothing is changed for the others."""
    with pytest.raises(StoreError, match=told):
        requeued(bank_url, ids=ids)
    assert ready(bank_url) == set()


def test_id_that_failed_elsewhere(bank_url: str) -> None:
    """With a stage and an ID, both apply."""
    with pytest.raises(StoreError, match="item 4 did not fail in answering, but in grading"):
        requeued(bank_url, stage="answering", ids=["3", "4"])


def test_many_ids(bank_url: str) -> None:
    """More IDs than one statement takes are told at once."""
    with pytest.raises(StoreError, match=r"there is no item 0; .*\(and 1,995 more\)"):
        requeued(bank_url, ids=[f"0{number}" if number else "0" for number in range(2000)])


def test_run_that_is_over(three_url: str) -> None:
    """A run that a later one of its name has taken the place of would never be continued."""
    with pytest.raises(StoreError, match="run 1 is over: run 2 has taken its place"):
        requeued(three_url, 1)


@pytest.mark.slow
def test_run_that_goes_on(store_url: str) -> None:
    """The workers of a run that goes on are not disturbed, and take up what is ready."""
    fails = True

    def work(number: int) -> int:
        if fails and number == 1:
            raise ValueError("not yet")
        return number

    with live(store_url, first=work):
        fails = False
        assert requeued(store_url, ids=["1"]) == 1
    one = latest(store_url)
    assert (one.state, one.written, one.failed, one.calls) == ("finished", 3, 0, 7)


def requeued_family(url: str, **which: Any) -> Family:
    """Requeue, and commit; what parents and children there were."""
    with opened(url) as engine, change(engine) as connection:
        one = run(connection)
        found = family(connection, one, **which)
        requeue(connection, one, **which)
        return found


def family_states(url: str) -> dict[str, str]:
    """The states of the items that had failed, and of what is above and below them."""
    found = items(url)
    return {key: found[key].state for key in ("1", "1/1", "3", "3/0", "4", "4/0", "4/1")}


def test_a_parent_that_failed_while_it_was_expanded(family_url: str) -> None:
    """Its call is made again; the children that are there stay as they are."""
    assert requeued_family(family_url, ids=["3"]) == Family(expanding=1)
    states = family_states(family_url)
    assert (states["3"], states["3/0"]) == ("ready", "ready")
    assert items(family_url)["3"].children == 1


def test_a_child_whose_parent_was_collected(family_url: str) -> None:
    """Only the child goes on; its parent stays as it ended."""
    assert requeued_family(family_url, ids=["1/1"]) == Family(collected=1)
    states = family_states(family_url)
    assert (states["1/1"], states["1"]) == ("ready", "written")


def test_a_child_whose_parent_failed(family_url: str) -> None:
    """Only the child goes on; its parent may be requeued later."""
    assert requeued_family(family_url, ids=["4/1"]) == Family()
    states = family_states(family_url)
    assert (states["4/1"], states["4"]) == ("ready", "failed")


def test_a_parent_without_its_failed_child(family_url: str) -> None:
    """Its children have ended, so nothing keeps it from being collected."""
    assert requeued_family(family_url, ids=["4"]) == Family()
    states = family_states(family_url)
    assert (states["4"], states["4/1"]) == ("ready", "failed")


def test_a_parent_with_its_failed_child(family_url: str) -> None:
    """It waits for the child, which is ready again."""
    assert requeued_family(family_url) == Family(expanding=1, collecting=1, collected=1)
    assert family_states(family_url) == {
        "1": "written",
        "1/1": "ready",
        "3": "ready",
        "3/0": "ready",
        "4": "waiting",
        "4/0": "collected",
        "4/1": "ready",
    }


def test_the_stage_of_a_parent(family_url: str) -> None:
    """A parent whose children are made failed in the stage that collects them."""
    assert requeued(family_url, stage="voting") == 1
    assert family_states(family_url)["4"] == "ready"
    assert requeued(family_url, stage="splitting") == 1
    assert family_states(family_url)["3"] == "ready"


def rows_again(url: str, *, ids: Sequence[str] | None = None) -> int:
    """Requeue the rows of written items, and commit."""
    with opened(url) as engine, change(engine) as connection:
        return requeue_rows(connection, run(connection), ids=ids)


def never(value: Any) -> Any:
    """The second stage, which is not to be called."""
    raise AssertionError(value)


never.__module__, never.__qualname__ = answer.__module__, answer.__qualname__


def clear(url: str, statement: str) -> None:
    """What befalls the table of rows."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.slow
@pytest.mark.parametrize("statement", ["DROP TABLE bank", "DELETE FROM bank"])
def test_rows_that_are_gone(bank_url: str, statement: str) -> None:
    """A run that goes on says that they are missing, and writes them again if that is wanted, without a call."""
    with connected(bank_url) as connection:
        before = {row.id: row for row in connection.execute(select(BANK)) if row.status == "written"}
    clear(bank_url, statement)
    with capture_logs() as logs:
        assert bank(bank_url, answering=never).run([]).taken == 0
    (told,) = [log for log in logs if "missing" in log["event"]]
    assert (told["run"], told["place"], told["missing"]) == (1, "bank", 6)
    assert f"rxpipe requeue 1 --rows {database_option(bank_url)} has" in told["hint"]

    assert rows_again(bank_url) == 6
    assert (latest(bank_url).state, latest(bank_url).ready) == ("unfinished", 6)
    report = bank(bank_url, answering=never).run([])
    assert (report.taken, report.written) == (6, 6)
    with connected(bank_url) as connection:
        again = {row.id: row for row in connection.execute(select(BANK))}
    assert {key: (row.status, row.value) for key, row in again.items()} == {
        key: (row.status, row.value) for key, row in before.items()
    }
    assert (latest(bank_url).state, latest(bank_url).written, latest(bank_url).failed) == ("finished", 6, 4)
    with capture_logs() as logs:
        bank(bank_url, answering=never).run([])
    assert not [log for log in logs if "missing" in log["event"]]


def test_rows_of_some_items(bank_url: str) -> None:
    """Those that are named; what they have come to stays but for their state."""
    assert rows_again(bank_url, ids=["1", "x"]) == 2
    assert ready(bank_url) == {"1", "x"}
    after = items(bank_url)["1"]
    assert (after.stage, after.attempts, after.failures) == (3, 3, 0)
    with pytest.raises(StoreError, match="item 3 is not written, but failed; there is no item 9: nothing was changed"):
        rows_again(bank_url, ids=["2", "3", "9"])
    assert ready(bank_url) == {"1", "x"}


def test_a_row_function_may_write_nothing(sqlite_url: str) -> None:
    """So fewer rows than written items are no cause for a warning, but none at all are."""
    sink = DatabaseSink(sqlite_url, table=NUMBERS, row=lambda outcome: {"id": outcome.id} if outcome.id else None)
    for wanted in (0, 1):
        with capture_logs() as logs:
            Pipeline(Stage("a", same), sink=sink, store=RunStore()).run(range(3))
        assert sum("missing" in log["event"] for log in logs) == wanted
        clear(sqlite_url, "DELETE FROM numbers")
