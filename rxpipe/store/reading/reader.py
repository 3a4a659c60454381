"""``StoreRunsReader``: answers the page's questions from a store."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, select, text

from rxpipe.identity.signature import from_text
from rxpipe.insight.reading import ErrorRow, ItemDetails, ItemFilter, ItemPage, Order, RunRow, Timeline, WorkerRow
from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.queries.backlog import Backlog, backlog_of
from rxpipe.store.queries.existing_store import checked_engine, snapshot
from rxpipe.store.queries.usage import by_stage
from rxpipe.store.reading.call_times import timeline
from rxpipe.store.reading.item_details import item_details
from rxpipe.store.reading.item_filters import can_be, can_have_items
from rxpipe.store.reading.item_pages import Question, count, page
from rxpipe.store.reading.lists import error_rows, run_rows, worker_rows
from rxpipe.store.reading.snapshot_history import SnapshotHistory
from rxpipe.store.schema.tables import RUNS, db_now

_LARGEST = 2**31 - 1  # highest number of a run, in PostgreSQL
_MOST = 1_000  # most items on a page

# Queries must walk along indexes, whatever the statistics say of a growing table. Compiling a query takes longer than
# executing it.
_PLANS = text(
    "SELECT set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true), "
    "set_config('enable_bitmapscan', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)"
)


class StoreRunsReader:
    """Reads the runs of a database; see ``RunsReader``. Any thread may call its methods.

    It changes nothing, and holds up no run. A context manager: leaving it closes its connections.
    """

    def __init__(self, database: str | URL | Engine) -> None:
        """Connect.

        Args:
            database: The store's database, as for ``RunStore``.

        Raises:
            StoreError: There is no store in the database, or a store of another version of rxpipe.
            SinkError: The database cannot be opened.
            ConfigError: The database cannot hold a store.
        """
        self._engine = checked_engine(database)
        self._is_ours = self._engine is not database
        self._history = SnapshotHistory()
        self._history_lock = threading.Lock()

    def close(self) -> None:
        """Close the connections, unless the engine belongs to the caller."""
        if self._is_ours:
            self._engine.dispose()

    def __enter__(self) -> StoreRunsReader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def runs(self) -> Sequence[RunRow]:
        """Returns all runs, the latest first."""
        with self._look() as connection:
            return run_rows(connection)

    def run(self, number: int) -> RunRow | None:
        """Returns a run; None if there is no run of this number."""
        with self._look() as connection:
            return next(iter(run_rows(connection, number)), None)

    def backlog(self, run: int) -> Backlog:
        """Returns the unfinished items of a run, and how long the oldest has waited."""
        with self._look() as connection:
            return backlog_of(connection, run)

    def snapshots(self, run: int, *, most: int = 600) -> Sequence[Snapshot]:
        """Returns the run's history from its beginning: sums over its workers, at most ``most``, evenly spaced."""
        with self._history_lock, self._look() as connection:
            return self._history.all(connection, run, most) if _is_number(run) else []

    def latest(self, run: int) -> Snapshot | None:
        """Returns the newest sum over the workers of a run; None if no snapshot was kept."""
        with self._history_lock, self._look() as connection:
            return self._history.latest(connection, run) if _is_number(run) else None

    def workers(self, run: int) -> Sequence[WorkerRow]:
        """Returns the run's workers, including ended ones, the latest first."""
        with self._look() as connection:
            return worker_rows(connection, run) if _is_number(run) else []

    def usage(self, run: int) -> dict[str, Usage]:
        """Returns the tokens and the cost of a run's calls, by the stage's name."""
        with self._look() as connection:
            return by_stage(connection, run) if _is_number(run) else {}

    def errors(self, run: int) -> Sequence[ErrorRow]:
        """Returns failures in groups, the commonest first; 50 at most."""
        with self._look() as connection:
            return error_rows(connection, run) if _is_number(run) else []

    def items(
        self, run: int, wanted: ItemFilter, *, order: Order = "newest", after: str | None = None, most: int = 100
    ) -> ItemPage:
        """Returns a page of items. ``after`` is the ``following`` of an earlier page.

        A page may be short or empty, and still have a ``following``: if few items match, the search ends after a
        fraction of a second, and the next page goes on from there.

        Raises:
            StoreError: ``after`` comes from no page.
        """
        with self._look() as connection:
            if (question := _question(connection, run, wanted, order)) is None:
                return ItemPage(items=())
            return page(connection, question, after=after, most=max(1, min(most, _MOST)))

    def count(self, run: int, wanted: ItemFilter, *, most: int = 10_000) -> int:
        """Returns how many items match; ``most`` stands for that many or more.

        Counts for a fraction of a second. Items that it has not reached by then are not in the number.
        """
        with self._look() as connection:
            question = _question(connection, run, wanted, "newest")
            return 0 if question is None else count(connection, question, most=most)

    def item(self, run: int, item: str) -> ItemDetails | None:
        """Returns the details of an item; None if there is no item with this ID."""
        with self._look() as connection:
            stages = _stages(connection, run) if can_be(item) else None
            return None if stages is None else item_details(connection, run, stages, item)

    def timeline(self, run: int, *, since: float, seconds: float, most: int = 2_000, parts: int = 600) -> Timeline:
        """Returns calls that ran in a part of the run.

        Args:
            run: The run's number.
            since: The beginning of the part, in seconds from the beginning of the run.
            seconds: The length of the part in seconds.
            most: Most bars to return.
            parts: How many means each of the heights has.
        """
        with self._look() as connection:
            stages = _stages(connection, run)
            if stages is None:
                return Timeline()
            return timeline(connection, run, stages, since=since, seconds=seconds, most=most, parts=parts)

    @contextmanager
    def _look(self) -> Generator[Connection]:
        with snapshot(self._engine) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(_PLANS)
            yield connection


def _is_number(run: int) -> bool:
    return 0 <= run <= _LARGEST


def _stages(connection: Connection, run: int) -> tuple[str, ...] | None:
    found = connection.execute(select(RUNS.c.stages).where(RUNS.c.id == run)).scalar() if _is_number(run) else None
    return None if found is None else tuple(stage.name for stage in from_text(found))


def _question(connection: Connection, run: int, wanted: ItemFilter, order: Order) -> Question | None:
    if (stages := _stages(connection, run)) is None or not can_have_items(wanted):
        return None
    return Question(run, stages, wanted, order, connection.execute(select(db_now())).scalar_one())
