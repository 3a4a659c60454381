"""What a run came to, as it is drawn.

- ``summary.py``, ``failures.py``: what it did, and what failed
- ``flow_shape.py``: what the stages of a config do with items
"""
