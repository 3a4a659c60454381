"""What a store tells of runs.

- ``opening.py``: a store that is looked at
- ``history.py``: runs and workers; ``details.py``: one item; ``failures.py``: failed calls; ``usage.py``: costs
"""
