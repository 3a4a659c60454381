"""What is kept of items.

- ``records.py``: what happened to an item; ``outputs.py``: what a stage returned, as text or bytes
- ``line.py``: records in the order in which they happened
- ``commits.py``, ``moves.py``: a batch of them in one transaction
- ``flusher.py``, ``patience.py``: again while the database is away; ``backlog.py``: calls wait meanwhile
"""
