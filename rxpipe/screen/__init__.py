"""A run on a terminal, and what else is drawn there. It knows snapshots, not runs.

- ``progress.py``: shows a run as it goes: ``live.py`` on a terminal, below what functions print, which
  ``output_capture.py`` collects; ``lines.py`` elsewhere
- ``figures.py``: what both show
- ``tables.py``, ``texts.py``, ``terminal.py``: tables that fit the screen, numbers and durations, safe text
"""
