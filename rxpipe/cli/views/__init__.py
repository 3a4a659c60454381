"""What a run came to, or is going to, as it is drawn.

- ``summary.py``, ``failures.py``: what it did, and what failed
- ``forecast.py``: what a run is going to take; ``sweep.py``, ``sweep_page.py``: how that changes with its settings
- ``flow_shape.py``: what the stages of a config do with items
"""
