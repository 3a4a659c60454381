"""The sink that writes a file: outcomes as lines of JSON.

- ``sink.py``: ``JsonLinesSink``; ``line_writer.py``: writes batches, alone or in a run store's transactions
- ``lines.py``: outcomes as lines; ``output_file.py``: the file, locked, and written at a known offset
- ``file_owner.py``: what a run store knows of a file: how long it is, and which pipeline writes into it
"""

from __future__ import annotations

from rxpipe.files.sink import JsonLinesSink

__all__ = ["JsonLinesSink"]
