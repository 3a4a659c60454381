"""The sink: outcomes as rows of a database.

- ``sink.py``: ``DatabaseSink``; ``write_operator.py``: the operator that it gives a run; ``writer.py``: commits a batch
- ``table.py``: the default table; ``rows.py``, ``mapping.py``, ``column_paths.py``: outcomes as rows of it, or of the
  user's own; ``field_names.py``: names of fields that no value has
- ``plain_data.py``, ``encoding.py``, ``text.py``: values as JSON and text that every database takes
- ``prepare_table.py``: seeing that the table is there; ``table_owner.py``: which pipeline writes into it;
  ``table_rights.py``: who may make it
- ``commit_batch.py``, ``upsert.py``: a batch in one transaction, without the rows that are refused
- ``json_rows.py``: many rows as one parameter of a statement
- ``repeated_ids.py``: tells of rows that were replaced, as their IDs came twice
- ``error_kinds.py``: whether an error is a row's, or the database's for now; ``outage.py``: how long to try again
- ``transaction_limit.py``, ``abort_deadline.py``: ends in time, also where the database does not answer
- ``engine.py``, ``prepared_statements.py``, ``sqlite_file.py``: URLs and connections; poolers; a file that is deleted
"""

from __future__ import annotations

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.sink import DatabaseSink
from rxpipe.database.table import default_table

__all__ = ["DatabaseSink", "RowRefused", "default_table"]
