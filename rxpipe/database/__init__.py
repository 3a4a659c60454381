"""The database sink: writes outcomes as rows.

- ``sink.py``: ``DatabaseSink``; ``write_operator.py``: the operator that it gives a run; ``writer.py``: commits a batch
- ``table.py``: the default table; ``rows.py``, ``mapping.py``, ``column_paths.py``: outcomes as rows of it, or of the
  user's own table; ``field_names.py``: reports names of fields that no value has
- ``plain_data.py``, ``encoding.py``, ``text.py``: values as JSON and text that every database takes
- ``prepare_table.py``: makes or checks the table; ``table_owner.py``: the pipeline that writes into it;
  ``table_rights.py``: errors for roles that may not make it
- ``commit_batch.py``, ``upsert.py``: a batch in one transaction, without refused rows
- ``json_rows.py``: many rows as one parameter of a statement
- ``repeated_ids.py``: warns of rows that were replaced because their IDs came twice
- ``error_kinds.py``: tells errors of rows from errors of the database; ``outage.py``: how long to try again
- ``transaction_limit.py``, ``abort_deadline.py``: end in time, even if the database does not answer
- ``engine.py``, ``prepared_statements.py``, ``sqlite_file.py``: URLs and connections; poolers; a deleted file
"""

from __future__ import annotations

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.sink import DatabaseSink
from rxpipe.database.table import default_table

__all__ = ["DatabaseSink", "RowRefused", "default_table"]
