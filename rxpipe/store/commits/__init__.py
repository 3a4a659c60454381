"""What is kept of items: checkpoints, failed calls, outcomes.

- ``records.py``: what happened to an item; ``outputs.py``: what a stage returned, as text or bytes
- ``record_queue.py``: records in the order in which they happened
- ``commits.py``: writes a batch of them in one transaction; ``state_changes.py``: what each does to its item
- ``flusher.py``, ``outage_limit.py``: tries again while the database is away; ``backlog.py``: calls wait meanwhile
"""
