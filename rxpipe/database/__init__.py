"""The sink: outcomes as rows of a database."""

from __future__ import annotations

from rxpipe.database.refusal import RowRefused
from rxpipe.database.sink import DatabaseSink
from rxpipe.database.table import default_table

__all__ = ["DatabaseSink", "RowRefused", "default_table"]
