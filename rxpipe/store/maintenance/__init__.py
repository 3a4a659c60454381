"""Runs as files; mending and deleting.

- ``export.py``: a run's items; ``export_files.py``, ``export_cells.py``: as CSV, JSON lines, Parquet
- ``requeue.py``: items that are to be called again, rows that are to be written again
- ``forget.py``: deleting all that there is of an item
- ``migrate.py``: making tables, or bringing them up to date
- ``prune.py``: deleting old runs; ``cache.py``: results that any run may use again
"""
