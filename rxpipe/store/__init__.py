"""The run store: what each stage made of each item, so that a run goes on where it was left, whatever ended it.

- ``store.py``: ``RunStore``, which a pipeline is given; ``session.py``: one process's part in a run
- ``runs.py``: which run goes on; ``others_at_work.py``: whether others are at work on it
- ``older_workers.py``: workers of an older version end before a newer one changes the store
- ``submissions.py``: items that are put into a store for whichever worker takes them; ``wakeups.py``: how a worker that
  stays learns of them
- ``result_cache.py``: results that any run may use again
- ``items/``: the items that come into the stages, and which worker has them
- ``commits/``: what is kept of them
- ``schema/``: the tables, transactions, many rows in one statement
- ``queries/``: what a store tells of runs; ``reading/``: what a page asks of them
- ``maintenance/``: a run as a file; mending and deleting runs and results
"""

from __future__ import annotations

from rxpipe.store.store import RunStore
from rxpipe.store.submissions import Submitted, submit

__all__ = ["RunStore", "Submitted", "submit"]
