"""Exports runs as files; mends and deletes runs and results.

- ``export.py``: a run's items; ``export_files.py``, ``export_cells.py``: as CSV, JSON lines, Parquet
- ``requeue.py``: makes items ready again, to be called or written again
- ``forget.py``: deletes all that there is of an item
- ``migrate.py``: makes the tables, or brings them up to date
- ``prune.py``: deletes old runs; ``cache.py``: results that any run may use again
"""
