"""The ``source`` of a config: IDs, or records.

- ``source.py``: ``read_source``, which asks the one for the kind that is given
- ``text_file.py``, ``csv_file.py``, ``jsonl_file.py``, ``parquet_file.py``, ``sql.py``, ``call.py``: one kind each
- ``ids.py``: which field of a row is its ID; ``flaws.py``: what is wrong with a file, all of it at once
- ``open_text.py``: text files in any encoding; ``spool.py``: what was checked, in a temporary file
"""

from __future__ import annotations

from rxpipe.config.sources.source import read_source

__all__ = ["read_source"]
