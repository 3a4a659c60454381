"""What a run came to, or is going to, as it is drawn.

- ``summary.py``, ``failures.py``, ``item.py``: what it did, what failed, and one item; ``next_steps.py``: what to
  try behind a rehearsal
- ``forecast.py``: what a run is going to take; ``sweep.py``, ``sweep_page.py``: how that changes with its settings;
  ``recommendation.py``: which settings to take
- ``flow_shape.py``: what the stages of a config do with items
- ``runs_compared.py``, ``runs_page.py``: runs side by side, in the terminal and as a page
"""
