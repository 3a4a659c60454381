"""What is drawn.

- ``live.py``: a run on a terminal, below what functions print, which ``output_capture.py`` collects
- ``lines.py``: a run elsewhere; ``figures.py``: what both show
- ``summary.py``, ``failures.py``: what a run came to
- ``flow_shape.py``: what the stages of a config do with items
- ``tables.py``, ``texts.py``, ``terminal.py``: tables that fit the screen, numbers and durations, safe text
"""
