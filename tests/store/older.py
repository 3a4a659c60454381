"""Stores as earlier versions of rxpipe made them."""

from __future__ import annotations

from sqlalchemy import Connection

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
    for step in (_TO_3, _TO_2, _TO_1)[: 4 - version]:
        for statement in step:
            connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"UPDATE rxpipe_schema SET version = {version}")
