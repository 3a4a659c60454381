"""The ``source`` of a config: IDs, or records.

- ``source.py``: ``read_source``, which calls the reader of the given kind
- ``text_file.py``, ``csv_file.py``, ``jsonl_file.py``, ``parquet_file.py``, ``sql.py``, ``call.py``: one kind each
- ``ids.py``: the ID of a row; ``flaws.py``: reports all problems of a file at once
- ``open_text.py``: text files in any encoding; ``spool.py``: keeps checked items in a temporary file
"""

from __future__ import annotations

from rxpipe.config.sources.source import read_source

__all__ = ["read_source"]
