"""Writes checkpoints, failed calls and outcomes into the store.

- ``records.py``: the events of an item; ``outputs.py``: stage results as text or bytes
- ``record_queue.py``: records in the order of their events
- ``commits.py``: writes a batch of records in one transaction, by ``commit_statements.py``
- ``state_changes.py``: the effect of a batch on each item
- ``row_writer.py``: the interface of a sink that writes rows in the same transactions
- ``checkpoints.py``, ``children.py``, ``used_rows.py``: rows of results, of children, and of the usage of calls
- ``call_groups.py``, ``exchanges.py``: rows of calls, and of the prompts and replies of language models
- ``tallies.py``, ``error_sums.py``: sums of items by their states, and of failures by their kinds
- ``shared_quota.py``: ``until`` for several workers
- ``cached_results.py``: results for other runs; ``input_hash.py``: the hashes of their inputs
- ``flusher.py``, ``outage_limit.py``: tries again while the database is away; ``backlog.py``: calls wait meanwhile
"""
