"""The run store: what each stage made of each item, so that a run goes on where it was left, whatever ended it.

- ``store.py``: ``RunStore``, which a pipeline is given; ``session.py``: one process's part in a run
- ``feed.py``, ``claims.py``, ``hands.py``: the items that come into the stages
- ``records.py``, ``commits.py``, ``outputs.py``: what is kept of them
- ``usage.py``: what calls have used
- ``lease.py``, ``process.py``: which workers live, and what becomes of the items of those that do not
- ``runs.py``, ``signature.py``: which run goes on, and whether its stages are still the same
- ``schema.py``, ``database.py``, ``given.py``: the tables, transactions, many rows in one statement
- ``opening.py``: a store that is looked at; ``history.py``, ``details.py``, ``failures.py``: what it tells of runs;
  ``export.py``, ``export_files.py``: a run as a file; ``requeue.py``, ``prune.py``: mending and deleting
"""

from __future__ import annotations

from rxpipe.store.store import RunStore

__all__ = ["RunStore"]
