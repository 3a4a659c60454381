"""Commits a batch in one transaction; if rows are refused, without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeAlias

from sqlalchemy import Connection

from rxpipe.database.encoding import one_line
from rxpipe.database.error_kinds import RowRefused, judge, refusal
from rxpipe.database.rows import Row
from rxpipe.database.upsert import Upserts
from rxpipe.errors import SinkError

Entry: TypeAlias = tuple[int, Row]  # a row with its place in the batch
Begin: TypeAlias = Callable[[], AbstractContextManager[Connection]]
Replace: TypeAlias = Callable[[int, RowRefused], Row | None]


class Committer:
    """Commits batches of rows.

    Args:
        upserts: The statements.
        begin: Begins a transaction, which commits at its end and rolls back after an error.
        keys: The keys of the primary key's columns, if any.
    """

    def __init__(self, upserts: Upserts, begin: Begin, keys: Sequence[str]) -> None:
        self._upserts = upserts
        self._begin = begin
        self._keys = keys

    def commit(
        self, entries: Sequence[Entry], replace: Replace, look: Callable[[Connection], object] = lambda _: None
    ) -> dict[int, RowRefused]:
        """Commit all rows that the database takes.

        Args:
            entries: The rows. Of two with the same primary key, the last one counts.
            replace: Returns what to write in place of a refused row, if anything.
            look: Called in the transaction, before anything is written.

        Returns:
            The refused rows, by their place in the batch.

        Raises:
            SinkError: The database takes no rows at all, and waiting does not help.
            Exception: The database is away or busy. Nothing was committed.
        """
        if not entries:
            return {}
        groups = self._groups(entries)
        try:
            with self._begin() as connection:
                look(connection)
                for group in groups:
                    self._upserts.execute(connection, [row for _, row in group])
        except Exception as error:  # noqa: BLE001 - bind processors raise anything; ours are raised again
            raise_unless_refused(error)
        else:
            return {}
        return self._commit_others(entries, replace)

    def write_in(self, connection: Connection, entries: Sequence[Entry], replace: Replace) -> dict[int, RowRefused]:
        """Write rows in the caller's transaction; see ``commit``. The caller commits it.

        Raises:
            SinkError: The database takes no rows at all, and waiting does not help.
            Exception: The database is away or busy.
        """
        refused: dict[int, RowRefused] = {}
        for group in self._groups(entries) if entries else []:
            refused |= self._search(connection, group, replace)
        return refused

    def _commit_others(self, entries: Sequence[Entry], replace: Replace) -> dict[int, RowRefused]:
        """Commit the rows without the refused ones, which are found by halving.

        One bad row among 500 takes nine halvings: 20 statements, each in a savepoint, in one transaction.
        """
        try:
            with self._begin() as connection:
                return self.write_in(connection, entries, replace)
        except Exception as error:  # noqa: BLE001 - as above
            raise_unless_refused(error)
            reason = refusal(error)
        # All rows were taken and the commit was refused (a deferred constraint): each half gets its own transaction.
        if len(entries) > 1:
            half = len(entries) // 2
            first = self._commit_others(entries[:half], replace)
            return first | self._commit_others(entries[half:], replace)
        index = entries[0][0]
        replacement = replace(index, reason)
        if replacement is not None:
            self.commit([(index, replacement)], lambda _index, _reason: None)
        return {index: reason}

    def _search(self, connection: Connection, group: Sequence[Entry], replace: Replace) -> dict[int, RowRefused]:
        refused: dict[int, RowRefused] = {}
        waiting = [group]
        while waiting:
            part = waiting.pop()
            error = self._attempt(connection, [row for _, row in part])
            if error is None:
                continue
            if len(part) > 1:
                half = len(part) // 2
                # The first half comes first: of rows with one key the last one counts.
                waiting += [part[half:], part[:half]]
                continue
            index = part[0][0]
            refused[index] = refusal(error)
            replacement = replace(index, refused[index])
            if replacement is not None:
                self._attempt(connection, [replacement])
        return refused

    def _attempt(self, connection: Connection, rows: Sequence[Row]) -> Exception | None:
        """Write all rows or none. Returns the error if none is written."""
        savepoint = connection.begin_nested()
        try:
            self._upserts.execute(connection, rows)
        except Exception as error:  # noqa: BLE001 - as above
            # Before any rollback: a deadlock has ended the whole transaction, including the savepoint.
            raise_unless_refused(error)
            savepoint.rollback()
            return error
        savepoint.commit()
        return None

    def _groups(self, entries: Sequence[Entry]) -> list[Sequence[Entry]]:
        """Returns the rows grouped by their columns, for a statement each. Rows with the same key stay in order."""
        first = entries[0][1].keys()
        if all(row.keys() == first for _, row in entries):
            return [entries]
        seen: Counter[str | None] = Counter()
        groups: dict[tuple[int, frozenset[str]], list[Entry]] = {}
        for entry in entries:
            row = entry[1]
            key = self._key_of(row)
            groups.setdefault((seen[key], frozenset(row)), []).append(entry)
            seen[key] += key is not None
        return [groups[turn] for turn in sorted(groups, key=lambda turn: turn[0])]

    def _key_of(self, row: Row) -> str | None:
        """Returns a text that is equal for equal primary keys; None for a row whose key the database makes."""
        if not self._keys or not all(name in row for name in self._keys):
            return None
        return repr([row[name] for name in self._keys])  # a key may be unhashable, and is refused later


def raise_unless_refused(error: Exception) -> None:
    """Raise an error that no row causes: as it is if waiting may help, as a ``SinkError`` if not."""
    verdict = judge(error)
    if verdict == "transient" or isinstance(error, SinkError):
        raise error
    if verdict == "fatal":
        cause = getattr(error, "orig", None) or error
        raise SinkError(f"the database takes no rows: {one_line(cause)}") from error
