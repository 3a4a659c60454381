"""What must hold of a run, whatever befell it; looked at between processes and in the end."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import URL, ColumnElement, Connection, Engine, Row, create_engine, inspect, make_url, select
from sqlalchemy.pool import NullPool

from rxpipe.database.table import default_table
from rxpipe.store.schema.tables import CHECKPOINTS, FAILURES, ITEMS, RUNS, USAGE, WORKERS

from .ledger import Call, Ledger, token_number
from .places import Place
from .work import STAGES


class Snapshot(NamedTuple):
    """What the database holds.

    Attributes:
        runs: The runs.
        items: By key.
        checkpoints: By key and place of the stage.
        failures: Failed calls.
        workers: The workers.
        rows: The sink's rows by key.
        usage: What calls used.
    """

    runs: list[Row[Any]]
    items: dict[str, Row[Any]]
    checkpoints: dict[tuple[str, int], Row[Any]]
    failures: list[Row[Any]]
    workers: list[Row[Any]]
    rows: dict[str, Row[Any]]
    usage: list[Row[Any]]

    def states(self) -> Counter[str]:
        """How many items are in each state."""
        return Counter(item.state for item in self.items.values())

    def last(self, key: str) -> Any:
        """The output of an item's last checkpoint; None if it has none."""
        stages = [stage for of, stage in self.checkpoints if of == key]
        return output(self.checkpoints[key, max(stages)]) if stages else None


def output(checkpoint: Row[Any]) -> Any:
    """What was kept."""
    assert checkpoint.pickled is None
    return json.loads(checkpoint.output)


@contextmanager
def connected(url: URL) -> Generator[Connection]:
    """A connection; the places of one PostgreSQL database share it, as their statements are compiled once for all."""
    if url.get_backend_name() == "sqlite":
        _to_connect.set(lambda: sqlite3.connect(str(url.database)))
        with _ENGINE.connect() as connection:
            yield connection
        return
    if "options" not in url.query:
        with create_engine(url, poolclass=NullPool).connect() as connection:
            yield connection
        return
    with _engine(url.difference_update_query(["options"])).connect() as connection:
        connection.exec_driver_sql(f"SET search_path TO {str(url.query['options']).removeprefix('-csearch_path=')}")
        connection.commit()
        yield connection


_to_connect: ContextVar[Callable[[], Any]] = ContextVar("_to_connect")
_ENGINE = create_engine("sqlite://", creator=lambda: _to_connect.get()(), poolclass=NullPool)


@cache
def _engine(url: URL) -> Engine:
    return create_engine(url)


def disconnect(database: URL) -> None:
    """Close connections to its places."""
    _engine(database).dispose()


class Watch:
    """Follows one run."""

    def __init__(self, place: Place) -> None:
        """Begin, before the first process does."""
        self.ledger = Ledger(f"{place.directory}/ledger")
        self._url = make_url(place.url)
        self._name = place.name
        self._rows = default_table(place.name)
        self._fences: dict[str, int] = {}
        self._committed: dict[tuple[str, str], int] = {}  # how many calls there were when its checkpoint was seen

    def snapshot(self) -> Snapshot:
        """What the database holds now; nothing of tables that are not there."""
        with connected(self._url) as connection:
            connection.execution_options(isolation_level="SERIALIZABLE")  # one state, in all that is read
            there = set(inspect(connection).get_table_names())

            def all_of(table: Any, *which: ColumnElement[bool]) -> list[Row[Any]]:
                return list(connection.execute(select(table).where(*which))) if table.name in there else []

            def all_of_run(table: Any) -> list[Row[Any]]:
                return all_of(table, table.c.run_id.in_([run.id for run in runs]))

            runs = all_of(RUNS, RUNS.c.name == self._name)
            return Snapshot(
                runs=runs,
                items={row.item_key: row for row in all_of_run(ITEMS)},
                checkpoints={(row.item_key, row.stage): row for row in all_of_run(CHECKPOINTS)},
                failures=all_of_run(FAILURES),
                workers=all_of_run(WORKERS),
                rows={row.id: row for row in all_of(self._rows)},
                usage=all_of_run(USAGE),
            )

    def look(self) -> Snapshot:
        """Remember what is committed now, and see that no fence has fallen since the last look."""
        snapshot = self.snapshot()
        calls = len(self.ledger.calls())  # after it: what comes later was certainly called later
        for key, stage in snapshot.checkpoints:
            self._committed.setdefault((key, STAGES[stage]), calls)
        for key, fence in self._fences.items():
            assert key in snapshot.items, f"item {key} is gone"
            assert snapshot.items[key].fence >= fence, f"the fence of item {key} fell"
        self._fences = {key: item.fence for key, item in snapshot.items.items()}
        return snapshot

    def beats(self) -> list[float]:
        """When the workers were marked last, by the database's clock; none of them has ended."""
        workers = self.snapshot().workers
        assert [worker.ended_as for worker in workers] == [None] * len(workers)
        return [worker.heartbeat_at for worker in workers]

    def check(
        self, items: Iterable[Any], *, dead: Iterable[Any] = (), zombies: Iterable[int] = (), acquitted: bool = False
    ) -> Snapshot:
        """See that the run has come to its end, with every item accounted for and nothing done in vain.

        Args:
            items: The IDs that it was run over.
            dead: Those of them that failed.
            zombies: Processes that were taken for dead though they were not, and did not know it at once.
            acquitted: Whether items may have been in more crashes than they tell, as they got through since.
        """
        snapshot = self.look()
        self._check_items(snapshot, {str(one) for one in items}, {str(one) for one in dead})
        self._check_contents(snapshot)
        if not acquitted:
            self._check_calls(snapshot, frozenset(zombies))
        self._check_usage(snapshot)
        self._check_fences(snapshot)
        return snapshot

    def _check_items(self, snapshot: Snapshot, keys: set[str], dead: set[str]) -> None:
        """Every input is in one terminal state, and has one row."""
        assert len(snapshot.runs) == 1
        assert snapshot.runs[0].finished_at is not None
        assert set(snapshot.items) == keys
        assert {key: item.state for key, item in snapshot.items.items()} == {
            key: "failed" if key in dead else "written" for key in keys
        }
        status = {key: "failed" if key in dead else "written" for key in keys}
        assert {key: row.status for key, row in snapshot.rows.items()} == status

    def _check_contents(self, snapshot: Snapshot) -> None:
        """Checkpoints are of calls that were made, each goes on from the one before, and rows are the last ones."""
        called = {call.token: call for call in self.ledger.calls()}
        for key, item in snapshot.items.items():
            stages = sorted(stage for of, stage in snapshot.checkpoints if of == key)
            assert stages == list(range(item.stage))
            assert item.state == "failed" or item.stage == len(STAGES)
            trail: list[str] = []
            for stage in stages:
                kept = output(snapshot.checkpoints[key, stage])
                assert (str(kept["id"]), kept["calls"][:-1]) == (key, trail)
                trail = kept["calls"]
                call = called[trail[-1]]
                assert (call.item, call.stage) == (key, STAGES[stage])
            assert snapshot.rows[key].value == (snapshot.last(key) if stages else int(key))

    def _check_calls(self, snapshot: Snapshot, zombies: frozenset[int]) -> None:
        """No call was made again but for a failure or a loss, and none behind its checkpoint."""
        failures = self.ledger.failures()
        for (key, stage), count in self.ledger.counts().items():
            most = 1 + failures[key, stage] + snapshot.items[key].crashes
            assert count <= most, f"{count} calls of {stage} for item {key}, and {most} at most were to be made"
        assert self.late() == [call for call in self.late() if call.pid in zombies]

    def _check_usage(self, snapshot: Snapshot) -> None:
        """What a call used is kept once, and in any case if its result is."""
        called = {token_number(call.token): call for call in self.ledger.calls()}
        used = [row.prompt_tokens for row in snapshot.usage]
        assert len(used) == len(set(used))
        for row in snapshot.usage:
            call = called[row.prompt_tokens]
            assert (row.item_key, row.stage) == (call.item, call.stage)
        kept = {token_number(output(checkpoint)["calls"][-1]) for checkpoint in snapshot.checkpoints.values()}
        assert kept <= set(used)
        assert len(used) >= len(kept) + sum(failure.attempt > 0 for failure in snapshot.failures)

    def late(self) -> list[Call]:
        """Calls whose checkpoint was there before they were made."""
        calls = enumerate(self.ledger.calls())
        return [call for number, call in calls if number >= self._committed.get((call.item, call.stage), number + 1)]

    def _check_fences(self, snapshot: Snapshot) -> None:
        """Fences rise from checkpoint to checkpoint, up to the item's."""
        for key, item in snapshot.items.items():
            fences = [snapshot.checkpoints[key, stage].fence for stage in range(item.stage)]
            assert [*fences, item.fence] == sorted([*fences, item.fence])
