"""Reads runs from a store, for commands.

- ``existing_store.py``: opens a store to look at it, and makes none
- ``history.py``: runs and workers; ``details.py``: one run, stage by stage
- ``failures.py``: failed calls; ``usage.py``: costs; ``backlog.py``: waiting items
"""
