"""The run store: keeps the stage results of each item, so that a run goes on where it was left, whatever ended it.

- ``store.py``: ``RunStore``, the store that you give to a pipeline; ``session.py``: the part of one process in a run
- ``runs.py``: which run goes on; ``others_at_work.py``: refuses changes while other workers are at work
- ``older_workers.py``: ends workers of an older version before a newer one changes the store
- ``submissions.py``: puts items into a store, for any worker; ``wakeups.py``: tells waiting workers about them
- ``result_cache.py``: results that any run may use again
- ``items/``: the items that come into the stages, and their workers
- ``commits/``: writes results, failures and outcomes
- ``schema/``: the tables, transactions, many rows in one statement
- ``queries/``: reads runs for commands; ``reading/``: reads runs for the page
- ``maintenance/``: exports runs, mends and deletes runs and results
"""

from __future__ import annotations

from rxpipe.store.store import RunStore
from rxpipe.store.submissions import Submitted, submit

__all__ = ["RunStore", "Submitted", "submit"]
