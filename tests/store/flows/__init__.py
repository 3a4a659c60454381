"""Flows with a store: children, parents that wait for them, batches, and items that are dropped or sent back.

- ``test_*.py``: one shape each, and random flows
- ``power.py``: a process that loses its database for good, as if it were killed
- ``durable.py``: random flows with a store, and what must hold of them
"""
