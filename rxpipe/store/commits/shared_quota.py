"""``until`` for several workers of one run: together they write no more items than it says."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, func, select, update

from rxpipe.database.json_rows import RUN, this_run
from rxpipe.pipeline.run.quota import Quota
from rxpipe.store.schema.tables import IS_RUNNING, ITEMS, RUNS

_WRITTEN = "written_now"


class SharedQuota:
    """One worker's part in the run's quota.

    The run's row has the number of written items. Every worker that adds to it, or claims items, locks the row.

    Attributes:
        total: Number of written items, as far as this worker knows.
    """

    def __init__(self, quota: Quota, run_id: int) -> None:
        self.total = 0
        self._quota = quota
        self._of_run = {RUN: run_id}
        self._own = 0  # written by this worker
        self._before = 0

    @property
    def is_reached(self) -> bool:
        """True if no item is missing any more."""
        return self.total >= self._quota.until

    def open(self, connection: Connection) -> None:
        """Count the written items, as runs without a quota do not count them."""
        connection.execute(_lock_statement(), self._of_run)
        self.total = self._before = connection.execute(_count_statement(), self._of_run).scalar_one()
        connection.execute(_set_statement(), {**self._of_run, _WRITTEN: self.total})

    def missing(self, connection: Connection) -> int:
        """Returns how many items are still to be written. No other worker writes any until the transaction ends."""
        self.total = connection.execute(_lock_statement(), self._of_run).scalar_one()
        return max(0, self._quota.until - self.total)

    def room(self, connection: Connection) -> int:
        """Returns how many more items may be on their way. No other worker claims any until the transaction ends."""
        missing = self.missing(connection)
        self._tell()
        return max(0, missing - int(connection.execute(_running_statement(), self._of_run).scalar_one()))

    def add(self, connection: Connection, count: int) -> None:
        """Count items that are written in this transaction."""
        self.total += count
        connection.execute(_set_statement(), {**self._of_run, _WRITTEN: self.total})

    def committed(self, count: int) -> None:
        """Count this worker's items whose transaction is committed."""
        self._own += count
        self._tell()

    def _tell(self) -> None:
        self._quota.written_elsewhere(max(0, self.total - self._before - self._own))


@cache
def _lock_statement() -> Select[Any]:
    return select(RUNS.c.written).where(RUNS.c.id == this_run()).with_for_update()


@cache
def _count_statement() -> Select[Any]:
    return select(func.count()).select_from(ITEMS).where(ITEMS.c.run_id == this_run(), ITEMS.c.state == "written")


@cache
def _running_statement() -> Select[Any]:
    return select(func.count()).select_from(ITEMS).where(ITEMS.c.run_id == this_run(), IS_RUNNING)


@cache
def _set_statement() -> Update:
    return update(RUNS).where(RUNS.c.id == this_run()).values(written=bindparam(_WRITTEN, type_=RUNS.c.written.type))
