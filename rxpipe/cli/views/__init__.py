"""What a run came to, as it is drawn.

- ``summary.py``, ``failures.py``: what it did, and what failed
"""
