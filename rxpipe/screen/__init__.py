"""Draws a run on a terminal, and other output. This package knows snapshots, not runs.

- ``progress.py``: shows a run in progress: ``live.py`` on a terminal, below the output of functions, which
  ``output_capture.py`` collects; ``lines.py`` elsewhere
- ``figures.py``: the figures that both show
- ``tables.py``, ``texts.py``, ``terminal.py``: tables that fit the screen, numbers and durations, safe text
"""
