"""Deletes everything that a store has of an item.

Its values, calls, prompts, errors and rows, and those of its children.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, Engine, Row, Table, and_, delete, inspect, or_, select, update

from rxpipe.errors import CheckpointError, StoreError
from rxpipe.store.commits.error_sums import kind_of
from rxpipe.store.commits.input_hash import input_hash
from rxpipe.store.commits.outputs import decode
from rxpipe.store.commits.tallies import take_from_tally
from rxpipe.store.queries.existing_store import change
from rxpipe.store.queries.history import workers
from rxpipe.store.schema.tables import (
    CACHE,
    CALLS,
    CHECKPOINTS,
    ERRORS,
    EXCHANGES,
    FAILURES,
    ITEMS,
    RUNS,
    SNAPSHOTS,
    USAGE,
)

_CHUNK = 500  # keys in one statement
_NOBODY = ""  # the owner of the usage afterwards: money that was spent stays counted
_GONE = "(deleted)"
_LONGEST = 200  # characters of a text that is searched for in other texts


@dataclass(kw_only=True)
class Forgotten:
    """What was deleted, counted in rows.

    Attributes:
        items: Items, with their children.
        rows: Rows of the table of results.
        checkpoints: Values: of the source, and stage results.
        calls: Calls that were made.
        exchanges: Prompts with their replies.
        failures: Failed calls.
        cached: Results that other runs would have used again.
        unreadable: Values that cannot be read any more. Cached results of these cannot be found.
    """

    items: int = 0
    rows: int = 0
    checkpoints: int = 0
    calls: int = 0
    exchanges: int = 0
    failures: int = 0
    cached: int = 0
    unreadable: int = 0


def forget(
    engine: Engine, keys: Sequence[str], *, name: str | None, table: Table | None = None, dry_run: bool = False
) -> Forgotten:
    """Delete everything that a database has of some items, in one transaction.

    Sums stay: the number of calls, and their cost. Copies of an item's texts are not found: in the values or prompts of
    other items, in logs, in backups.

    Args:
        engine: The store's engine.
        keys: The items' IDs, as text.
        name: Only in runs of this name; None for all runs.
        table: The table of results, in the same database; None to leave it.
        dry_run: Only count; delete nothing.

    Raises:
        StoreError: There is nothing of an item, or the item is a child, or a worker has it. Nothing was deleted.
        SinkError: The database cannot be written to.
    """
    told = Forgotten()
    try:
        with change(engine) as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")  # leaves nothing in free pages of the file
            _Forgetting(connection, _runs(connection, name), keys, told).all_of_it(table)
            if dry_run:
                raise _OnlyTold
    except _OnlyTold:
        return told
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")  # leaves nothing in the log of changes
    return told


class _OnlyTold(Exception):
    """Undoes the transaction of a dry run."""


def _runs(connection: Connection, name: str | None) -> list[int]:
    rows = connection.execute(select(RUNS.c.id, RUNS.c.name).order_by(RUNS.c.id)).all()
    return [row.id for row in rows if name is None or row.name in (name, f"pruned {row.id}: {name}")]


@dataclass
class _Texts:
    """The texts of an item's errors: their kinds, and parts that are searched for in other places."""

    kinds: set[str] = field(default_factory=set[str])
    parts: set[str] = field(default_factory=set[str])

    def add(self, text: str | None) -> None:
        part = " ".join((text or "").split())[:_LONGEST]
        if part:
            self.parts.add(part)

    def clean(self, entries: list[Any]) -> bool:
        """Take the texts out of a snapshot's errors or reasons. Returns True if there were any."""
        found = False
        for entry in entries:
            if any(part in entry.get("text", "") for part in self.parts):
                entry["text"], found = _GONE, True
        return found


class _Forgetting:
    """Deletes items in one transaction."""

    def __init__(self, connection: Connection, runs: Sequence[int], keys: Sequence[str], told: Forgotten) -> None:
        self._connection = connection
        self._runs = runs
        self._keys = list(dict.fromkeys(keys))
        self._told = told

    def all_of_it(self, table: Table | None) -> None:
        """Delete everything."""
        families = {run: self._family(run) for run in self._runs}
        known = {row.item_key for rows in families.values() for row in rows}
        for key in self._keys:
            # An item whose run was pruned may still have a row.
            gone = 0 if table is None else self._delete_rows(table, [key])
            if key not in known and not gone:
                raise StoreError(f"there is no item {key}: nothing was deleted")
            self._told.rows += gone
        if table is not None:
            self._told.rows += self._delete_rows(table, sorted(known))
        for run, rows in families.items():
            if rows:
                self._delete_cached(run, rows)
        for run, rows in families.items():
            if rows:
                self._delete(run, rows)

    def _family(self, run: int) -> list[Row[Any]]:
        """Returns the items and all items below them, locked in the order of their keys, as workers lock them."""
        found: list[Row[Any]] = []
        for some in _chunks(self._keys):
            which = or_(ITEMS.c.item_key.in_(some), ITEMS.c.root_key.in_(some))
            query = select(ITEMS).where(ITEMS.c.run_id == run, which).order_by(ITEMS.c.item_key).with_for_update()
            found += self._connection.execute(query)
        for row in found:
            if row.item_key in self._keys and row.parent_key is not None:
                text = f"item {row.item_key} of run {run} is a child of {row.parent_key}"
                raise StoreError(f"{text}, and goes with item {row.root_key}: nothing was deleted")
        held = [row for row in found if row.state == "running"]
        if held:
            busy = {one.id: one for one in workers(self._connection, run) if one.state != "lost"}
            for row in held:
                if (worker := busy.get(row.owner)) is not None:
                    raise StoreError(
                        f"item {row.item_key} of run {run} is at work in process {worker.pid} on {worker.host}: "
                        "try again when it has ended; nothing was deleted"
                    )
        return found

    def _delete(self, run: int, rows: Sequence[Row[Any]]) -> None:
        keys = [row.item_key for row in rows]
        texts = _Texts()
        for row in rows:
            texts.add(row.last_error)
        for failure in self._each(select(FAILURES), FAILURES, run, keys):
            texts.add(failure.text)
            texts.kinds.add(kind_of(failure.stage, failure.type, failure.text))
        told = self._told
        told.calls += self._delete_calls(run, set(keys))
        told.exchanges += self._delete_of(EXCHANGES, run, keys)
        told.failures += self._delete_of(FAILURES, run, keys)
        told.checkpoints += self._delete_of(CHECKPOINTS, run, keys)
        told.items += self._delete_of(ITEMS, run, keys)
        for some in _chunks(keys):
            used = update(USAGE).where(USAGE.c.run_id == run, USAGE.c.item_key.in_(some))
            self._connection.execute(used.values(item_key=_NOBODY))
        take_from_tally(self._connection, run, Counter(row.state for row in rows))
        if texts.kinds:
            self._count_errors_anew(run, texts.kinds)
        if texts.parts:
            self._clean_snapshots(run, texts)

    def _each(self, query: Any, table: Table, run: int, keys: Sequence[str]) -> Iterator[Row[Any]]:
        for some in _chunks(keys):
            yield from self._connection.execute(query.where(table.c.run_id == run, table.c.item_key.in_(some))).all()

    def _delete_of(self, table: Table, run: int, keys: Sequence[str]) -> int:
        parts = (delete(table).where(table.c.run_id == run, table.c.item_key.in_(some)) for some in _chunks(keys))
        return sum(self._connection.execute(part).rowcount for part in parts)

    def _delete_rows(self, table: Table, keys: Sequence[str]) -> int:
        if not inspect(self._connection).has_table(table.name):
            return 0
        (key,) = table.primary_key
        parts = (delete(table).where(key.in_(some)) for some in _chunks(keys))
        return sum(self._connection.execute(part).rowcount for part in parts)

    def _delete_calls(self, run: int, keys: set[str]) -> int:
        """Take calls out of their groups."""
        gone = 0
        of_run = CALLS.c.run_id == run
        groups: dict[tuple[str, int], str] = {}
        for key in keys:
            query = select(CALLS.c.worker, CALLS.c.number, CALLS.c.calls).where(of_run)
            named = CALLS.c.calls.contains(to_json(key).decode(), autoescape=True)
            groups |= {(row.worker, row.number): row.calls for row in self._connection.execute(query.where(named))}
        for (worker, number), text in groups.items():
            columns: dict[str, list[Any]] = json.loads(text)
            stay = [place for place, item in enumerate(columns["item"]) if item not in keys]
            gone += len(columns["item"]) - len(stay)
            this = and_(of_run, CALLS.c.worker == worker, CALLS.c.number == number)
            if not stay:
                self._connection.execute(delete(CALLS).where(this))
                continue
            left = {name: [column[place] for place in stay] for name, column in columns.items()}
            values = {"calls": to_json(left).decode(), "count": len(stay)}
            self._connection.execute(update(CALLS).where(this).values(values))
        return gone

    def _count_errors_anew(self, run: int, kinds: set[str]) -> None:
        """Make the sums of failures again from those that are left, as a sum quotes its latest failure."""
        self._connection.execute(delete(ERRORS).where(ERRORS.c.run_id == run, ERRORS.c.kind.in_(kinds)))
        sums: dict[str, dict[str, Any]] = {}
        columns = FAILURES.c.stage, FAILURES.c.type, FAILURES.c.text, FAILURES.c.attempt, FAILURES.c.final
        query = select(*columns, FAILURES.c.at).where(FAILURES.c.run_id == run).order_by(FAILURES.c.at)
        for one in self._connection.execute(query):
            kind = kind_of(one.stage, one.type, one.text)
            if kind not in kinds:
                continue
            row = sums.setdefault(kind, {"run_id": run, "worker": _NOBODY, "kind": kind, "items": 0, "calls": 0})
            row |= {"stage": one.stage, "type": one.type, "text": one.text[:_LONGEST], "last_at": one.at}
            row["items"] += one.final
            row["calls"] += one.attempt > 0
        for row in sums.values():
            self._connection.execute(ERRORS.insert().values(row))

    def _clean_snapshots(self, run: int, texts: _Texts) -> None:
        query = select(SNAPSHOTS.c.worker, SNAPSHOTS.c.number, SNAPSHOTS.c.snapshot).where(SNAPSHOTS.c.run_id == run)
        for row in self._connection.execute(query).all():
            snapshot: dict[str, Any] = json.loads(row.snapshot)
            found = [texts.clean(snapshot.get(name) or []) for name in ("errors", "drops")]
            if any(found):
                this = and_(SNAPSHOTS.c.run_id == run, SNAPSHOTS.c.worker == row.worker)
                changed = update(SNAPSHOTS).where(this, SNAPSHOTS.c.number == row.number)
                self._connection.execute(changed.values(snapshot=json.dumps(snapshot)))

    def _delete_cached(self, run: int, rows: Sequence[Row[Any]]) -> None:
        """Delete the results of calls whose input no other item has."""
        keys = [row.item_key for row in rows]
        hashes: set[str | None] = set()
        for row in rows:
            mine = ITEMS.c.item_key == row.item_key
            if not self._is_there(select(ITEMS.c.run_id).where(mine, ITEMS.c.run_id.not_in(self._runs))):
                hashes.add(input_hash(int(row.item_key) if row.is_integer else row.item_key))
        for kept in self._each(select(CHECKPOINTS), CHECKPOINTS, run, keys):
            others = or_(CHECKPOINTS.c.run_id.not_in(self._runs), CHECKPOINTS.c.item_key.not_in(keys))
            same = and_(CHECKPOINTS.c.output == kept.output, CHECKPOINTS.c.pickled.is_not_distinct_from(kept.pickled))
            if self._is_there(select(CHECKPOINTS.c.run_id).where(same, others)):
                continue
            try:
                hashes.add(input_hash(decode(kept.output, kept.pickled)))
            except CheckpointError:
                self._told.unreadable += 1
        for some in _chunks(one for one in hashes if one is not None):
            self._told.cached += self._connection.execute(delete(CACHE).where(CACHE.c.input_hash.in_(some))).rowcount

    def _is_there(self, query: Any) -> bool:
        return self._connection.execute(query.limit(1)).first() is not None


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    unique = list(dict.fromkeys(keys))
    return (unique[first : first + _CHUNK] for first in range(0, len(unique), _CHUNK))
