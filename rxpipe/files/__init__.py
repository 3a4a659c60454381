"""The sink for a file: outcomes as lines of JSON.

- ``sink.py``: ``JsonLinesSink``; ``line_writer.py``: writes batches, alone or in a run store's transactions
- ``lines.py``: makes lines of outcomes; ``output_file.py``: the file, locked, and written at a known offset
- ``file_owner.py``: a run store's data about a file: its length, and the pipeline that writes it
"""

from __future__ import annotations

from rxpipe.files.sink import JsonLinesSink

__all__ = ["JsonLinesSink"]
