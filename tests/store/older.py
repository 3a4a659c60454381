"""Stores as earlier versions of rxpipe made them."""

from __future__ import annotations

from sqlalchemy import Connection

_TO_6 = (
    "DROP INDEX rxpipe_items_ready",
    "ALTER TABLE rxpipe_items DROP COLUMN ready_at",
    "CREATE INDEX rxpipe_items_ready ON rxpipe_items (run_id, seq) WHERE state = 'ready'",
)
_TO_5 = (
    *(f"DROP TABLE rxpipe_{name}" for name in ("calls", "tallies", "errors", "snapshots", "exchanges")),
    *(f"DROP INDEX rxpipe_items_{name}" for name in ("ended", "failed", "slow")),
    *(f"ALTER TABLE rxpipe_items DROP COLUMN {name}" for name in ("taken_at", "ended_at", "seconds")),
    "ALTER TABLE rxpipe_workers DROP COLUMN asked",
)
_TO_4 = (
    "ALTER TABLE rxpipe_runs DROP COLUMN written",
    "DROP TABLE rxpipe_cache",
    "ALTER TABLE rxpipe_usage DROP COLUMN saved",
    *(f"DROP INDEX rxpipe_items_{name}" for name in ("children", "below", "waiting")),
    *(
        f"ALTER TABLE rxpipe_items DROP COLUMN {name}"
        for name in (
            *(
                "parent_key",
                "root_key",
                "number",
                "depth",
                "made_by",
                "children",
                "collected_by",
                "rounds",
                "feedback",
            ),
        )
    ),
)
_TO_3 = (
    "UPDATE rxpipe_items SET state = 'done' WHERE state = 'written'",
    "UPDATE rxpipe_items SET state = 'dead' WHERE state = 'failed'",
    "DROP INDEX rxpipe_items_quarantined",
    "CREATE INDEX rxpipe_items_suspect ON rxpipe_items (run_id, crashes) WHERE state = 'ready' AND crashes > 1",
)
_TO_2 = ("ALTER TABLE rxpipe_runs DROP COLUMN origin",)
_TO_1 = ("DROP TABLE rxpipe_usage",)


def make_older(connection: Connection, version: int) -> None:
    """Make of a store of today one of an earlier version, with what is in it."""
    for step in (_TO_6, _TO_5, _TO_4, _TO_3, _TO_2, _TO_1)[: 7 - version]:
        for statement in step:
            connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"UPDATE rxpipe_schema SET version = {version}")
