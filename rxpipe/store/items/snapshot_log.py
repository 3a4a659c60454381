"""The snapshots that a worker keeps of itself: a bounded, evenly spaced history, and the newest snapshot."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Connection, Delete, and_, bindparam, delete, exists, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from rxpipe.database.encoding import one_line
from rxpipe.database.json_rows import RUN, this_run
from rxpipe.insight.snapshot import Snapshot
from rxpipe.store.schema.tables import RUNS, SNAPSHOTS, db_now

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MOST = 1_000
"""Most snapshots that a worker keeps."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class SnapshotLog:
    """Keeps snapshots of this process's part in a run.

    Each snapshot replaces the one before, unless the number of that one is a multiple of the stride. When there are too
    many, the stride doubles. So the snapshots that are left are evenly spaced from the run's beginning.
    """

    def __init__(self, run_id: int, *, most: int = MOST) -> None:
        """Begin without snapshots.

        Args:
            run_id: The run's number.
            most: Most snapshots to keep.
        """
        self.take: Callable[[], Snapshot] | None = None
        self._conclude: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot
        self._run_id = run_id
        self._most = most
        self._number, self._stride = 0, 1
        self._owner = ""
        self._has_failed = self._is_over = False
        self._lock = threading.Lock()

    def watch(self, take: Callable[[], Snapshot], conclude: Callable[[Snapshot], Snapshot]) -> None:
        """Keep snapshots from now on. ``conclude`` adds to the last one what held the run up."""
        self.take, self._conclude = take, conclude

    def taken(self) -> str | None:
        """Returns a snapshot as the store keeps it; None if there is none.

        Calls the run: hold no transaction meanwhile.
        """
        return None if self.take is None else self.as_text(self.take)

    def last(self, counts: dict[str, int], state: str | None) -> str | None:
        """Returns the run's last snapshot, with ends that the store knows before the run does.

        Args:
            counts: How many items have ended in this process, by status.
            state: How the run has ended, unless the run says so itself.
        """
        take = self.take
        return None if take is None else self.as_text(lambda: self._conclude(ended(take(), counts, state)))

    def as_text(self, take: Callable[[], Snapshot]) -> str | None:
        """Returns a snapshot as the store keeps it; None if that fails, as a run does not depend on it."""
        try:
            return to_text(take())
        except Exception as error:  # noqa: BLE001 - whatever the error, heartbeats must go on
            if not self._has_failed:
                _log.warning("no snapshot of the run can be kept", error=one_line(error))
            self._has_failed = True
            return None

    def keep(self, connection: Connection, owner: str, text: str | None, *, is_last: bool = False) -> None:
        """Keep a snapshot; none after the last one.

        Args:
            connection: In a transaction.
            owner: The worker's name.
            text: The result of ``taken`` or ``last``.
            is_last: True for the result of ``last``. A heartbeat may have taken another snapshot earlier, and keep it
                later.
        """
        if text is None:
            return
        with self._lock:
            self._is_over |= is_last
            if self._is_over and not is_last:
                return
            if owner != self._owner:  # the first snapshot, or the worker has a new name since it was taken for dead
                self._owner, self._number, self._stride = owner, 0, 1
            number, stride = self._number, self._stride
            while number // stride >= self._most - 1:
                stride *= 2
            of_worker = {RUN: self._run_id, "to_worker": owner, "to_number": number}
            connection.execute(_add_statement(connection.dialect.name), {**of_worker, "to_snapshot": text})
            if stride != self._stride:
                connection.execute(_thin_statement(), {**of_worker, "from_number": 0, "to_stride": stride})
            elif (number - 1) % stride:
                connection.execute(_thin_statement(), {**of_worker, "from_number": number - 1, "to_stride": stride})
            self._number, self._stride = number + 1, stride


@cache
def adapter() -> TypeAdapter[Snapshot]:
    """Returns the adapter that makes snapshots of JSON."""
    from pydantic import TypeAdapter  # its import takes long, and 5,000 objects; a run only writes

    return TypeAdapter(Snapshot)


def to_text(snapshot: Snapshot) -> str:
    """Returns a snapshot as JSON, with characters that any database encoding has.

    Does not use pydantic, which takes longer to get ready than a short run lasts.
    """
    return json.dumps(snapshot, default=_fields, separators=(",", ":"))


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def from_text(text: str) -> Snapshot:
    """Returns the snapshot that was kept."""
    return adapter().validate_json(text)


def ended(snapshot: Snapshot, counts: dict[str, int], state: str | None) -> Snapshot:
    """Returns a snapshot with the store's newer facts: how many items have ended, and that the run is over."""
    more: dict[str, Any] = {name: max(count, getattr(snapshot, name)) for name, count in counts.items()}
    if state is not None and snapshot.state in ("running", "stopping"):
        more["state"] = state
    told = replace(snapshot, **more)
    return replace(told, in_flight=max(0, told.taken + told.spawned - told.ended))


@cache
def _add_statement(dialect: str) -> Insert:
    columns = SNAPSHOTS.c
    given = {
        column: bindparam(f"to_{column.name}", type_=column.type)
        for column in (columns.worker, columns.number, columns.snapshot)
    }
    values: dict[Any, Any] = {columns.run_id: this_run(), **given, columns.at: db_now()}
    there = exists(select(RUNS.c.id).where(RUNS.c.id == this_run()))  # not for a run that was pruned meanwhile
    module: Any = postgresql if dialect == "postgresql" else sqlite
    added = module.insert(SNAPSHOTS).from_select(list(values), select(*values.values()).where(literal(1) == 1, there))
    statement: Insert = added.on_conflict_do_update(  # from a transaction whose answer was lost
        index_elements=list(SNAPSHOTS.primary_key), set_={"snapshot": added.excluded.snapshot, "at": added.excluded.at}
    )
    return statement


@cache
def _thin_statement() -> Delete:
    columns = SNAPSHOTS.c
    number = columns.number
    is_before = and_(
        number >= bindparam("from_number", type_=number.type), number < bindparam("to_number", type_=number.type)
    )
    ours = and_(columns.run_id == this_run(), columns.worker == bindparam("to_worker", type_=columns.worker.type))
    is_between = number % bindparam("to_stride", type_=number.type) != 0
    return delete(SNAPSHOTS).where(ours, is_before, is_between)
