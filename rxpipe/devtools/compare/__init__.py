"""The same work on every strategy and scheduler, side by side, for ``rxpipe compare``.

- ``running.py``: `compare`, which makes the runs, each into a temporary database of its own
- ``simulated.py``: `compare_simulated`, which only simulates them
- ``least_time.py``: the least time that each strategy can take
- ``recording.py``: stages that record when each of their calls ran, with an added latency if one is given
- ``timeline.py``: the recorded calls and commits
- ``comparison.py``: the figures, as data and as the cells of a table
- ``html.py``, ``svg.py``: the page with a timeline of each run
- ``interrupts.py``: Ctrl-C
"""

from __future__ import annotations

from rxpipe.devtools.compare.comparison import Comparison, Row
from rxpipe.devtools.compare.html import page
from rxpipe.devtools.compare.least_time import StagePlan, least_seconds
from rxpipe.devtools.compare.running import compare
from rxpipe.devtools.compare.simulated import compare_simulated
from rxpipe.devtools.compare.timeline import Call, Commit, StageTimeline, Timeline

__all__ = [
    "Call",
    "Commit",
    "Comparison",
    "Row",
    "StagePlan",
    "StageTimeline",
    "Timeline",
    "compare",
    "compare_simulated",
    "least_seconds",
    "page",
]
