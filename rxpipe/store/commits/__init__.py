"""What is kept of items: checkpoints, failed calls, outcomes.

- ``records.py``: what happened to an item; ``outputs.py``: what a stage returned, as text or bytes
- ``record_queue.py``: records in the order in which they happened
- ``commits.py``: writes a batch of them in one transaction, by ``commit_statements.py``
- ``state_changes.py``: what each of them does to its item
- ``row_writer.py``: what a sink gives, to write rows in the same transactions
- ``checkpoints.py``, ``children.py``, ``used_rows.py``: rows of results, of children, and of what calls have used
- ``call_groups.py``, ``exchanges.py``: rows of calls, and of what language models were asked
- ``tallies.py``, ``error_sums.py``: sums of items by their states, and of failures by their kinds
- ``shared_quota.py``: ``until`` for several workers
- ``cached_results.py``: results for other runs; ``input_hash.py``: the hashes of their inputs
- ``flusher.py``, ``outage_limit.py``: tries again while the database is away; ``backlog.py``: calls wait meanwhile
"""
