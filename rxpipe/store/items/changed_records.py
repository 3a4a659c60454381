"""Records that a run already knows, and that come again with another value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from rxpipe.database.json_rows import RUN
from rxpipe.errors import RecordChanged
from rxpipe.pipeline.claim import Claim
from rxpipe.store.commits.checkpoints import add_checkpoints
from rxpipe.store.commits.outputs import Output
from rxpipe.store.commits.row_writer import Forget
from rxpipe.store.commits.tallies import take_from_tally
from rxpipe.store.items.ended_items import KeyedId
from rxpipe.store.items.kept_values import SOURCE, KeptValue, kept_values
from rxpipe.store.items.lease import Lease
from rxpipe.store.schema.tables import CHECKPOINTS, ENDED, ITEMS, PENDING, db_now

OnChange: TypeAlias = Literal["keep", "redo", "fail"]


def keep_values(connection: Connection, of_run: Mapping[str, Any], outputs: Mapping[str, Output | None]) -> None:
    """Keep the values of a source, by the keys of the items."""
    kept = {key: output for key, output in outputs.items() if output is not None}
    if not kept:
        return
    now = connection.execute(select(db_now())).scalar_one()
    add_checkpoints(connection, of_run, [(key, SOURCE, 1, *output, now) for key, output in kept.items()])


class ChangedRecords:
    """Handles changed records: keeps the first value, does the item again with the new one, or raises.

    Attributes:
        kept: How many records have kept their first value.
        refuses: True if an error is that of a submission, and not of the run.
        refused: If ``refuses``: the records that the last call refused, with their errors.
    """

    def __init__(self, on_change: OnChange, run_id: int, lease: Lease, forget: Forget | None = None) -> None:
        """Describe the handling. ``forget`` deletes the rows of children of records that are done again."""
        self.kept = 0
        self.refuses = False
        self.refused: dict[KeyedId, RecordChanged] = {}
        self._forget = forget
        self._on_change = on_change
        self._of_run = {RUN: run_id}
        self._run_id = run_id
        self._lease = lease

    def again(
        self, connection: Connection, known: Mapping[str, Claim], outputs: Mapping[str, Output | None]
    ) -> set[str]:
        """Look for records that have another value than before.

        Args:
            connection: In a transaction.
            known: The records that the run knows, by their keys, with the claims for those that are done again.
            outputs: The current values of the records.

        Returns:
            The keys of the records to do again. They belong to this worker from now on.

        Raises:
            RecordChanged: A record has changed, and that is an error of the run.
        """
        before = kept_values(connection, self._of_run, list(known))
        changed = [key for key in known if is_changed(before.get(key, {}).get(SOURCE), outputs[key])]
        if changed and self._on_change == "fail":
            errors = {(key, one): RecordChanged(one) for key, one in ((key, known[key].id) for key in changed)}
            if not self.refuses:
                raise next(iter(errors.values()))
            self.refused |= errors
            return set()
        if self._on_change == "redo":
            redone = {key for key in changed if self._begin_again(connection, known[key])}
            self.kept += len(changed) - len(redone)
            return redone
        self.kept += len(changed)
        return set()

    def _begin_again(self, connection: Connection, claim: Claim) -> bool:
        """Take an item that has ended, with all of its children. Returns False if they have not ended."""
        ours = ITEMS.c.run_id == self._run_id
        below = and_(ours, ITEMS.c.root_key == claim.key)
        if connection.execute(select(ITEMS.c.item_key).where(below, ITEMS.c.state.in_(PENDING)).limit(1)).first():
            return False
        item = and_(ours, ITEMS.c.item_key == claim.key, ITEMS.c.state.in_(ENDED))
        counts = select(ITEMS.c.state, func.count()).where(or_(item, below)).group_by(ITEMS.c.state)
        had_ended: dict[str, int] = {row[0]: row[1] for row in connection.execute(counts)}
        begun = (
            update(ITEMS)
            .where(item)
            .values(
                state="running",
                owner=self._lease.owner,
                fence=ITEMS.c.fence + 1,
                stage=0,
                children=0,
                rounds=0,
                collected_by=None,
                feedback=None,
                last_error=None,
                crashes=0,
                taken_at=db_now(),
                ended_at=None,
                seconds=None,
            )
        )
        fence = connection.execute(begun.returning(ITEMS.c.fence)).scalar()
        if fence is None:
            return False
        keys = select(ITEMS.c.item_key).where(below)
        kept = delete(CHECKPOINTS).where(CHECKPOINTS.c.run_id == self._run_id)
        connection.execute(kept.where(CHECKPOINTS.c.item_key == claim.key))
        connection.execute(kept.where(CHECKPOINTS.c.item_key.in_(keys)))
        if self._forget is not None:
            self._forget(connection, keys)
        connection.execute(delete(ITEMS).where(below))
        take_from_tally(connection, self._run_id, had_ended)
        claim.fence = int(fence)
        return True


def is_changed(before: KeptValue | None, now: Output | None) -> bool:
    """Returns True if a record has another value than the kept one; False if the new value cannot be kept."""
    if now is None:
        return False
    return before is None or (before.output, before.pickled) != now
