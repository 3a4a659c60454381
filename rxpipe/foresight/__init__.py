"""What a run is going to take: the same pipeline in virtual time, with calls that are drawn instead of made.

- ``simulation.py``: ``simulate``, which gives a ``Forecast`` (``forecast.py``)
- ``sweeps.py``: ``sweep``, over the values of a setting; ``variants.py``: a pipeline with other settings
- ``adviser.py``: ``advise``, which settings to take; ``search.py``: how they are found
- ``what_if.py``: what a live run would do with other settings, by a stand-in for its pipeline (``stand_in.py``)
- ``calls/``: recorded calls, and what is drawn from them
- ``virtual/``: the pipeline in virtual time
- ``live/``: what is left of a run that is under way

``recorded`` is imported when it is first asked for. SQLAlchemy takes a third of a second, and a script that only shows
its progress has no use for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rxpipe.foresight.adviser import Change, Recommendation, advise
from rxpipe.foresight.calls.distributions import parse_distribution
from rxpipe.foresight.calls.draws import Distribution
from rxpipe.foresight.calls.record import RecordedCall, RecordedRun
from rxpipe.foresight.calls.recorder import CallRecorder
from rxpipe.foresight.forecast import Forecast, LimitForecast, StageForecast
from rxpipe.foresight.simulation import simulate
from rxpipe.foresight.sweeps import Point, Sweep, sweep
from rxpipe.insight.interval import Interval

if TYPE_CHECKING:
    from rxpipe.foresight.calls.from_store import recorded

__all__ = [
    "CallRecorder",
    "Change",
    "Distribution",
    "Forecast",
    "Interval",
    "LimitForecast",
    "Point",
    "Recommendation",
    "RecordedCall",
    "RecordedRun",
    "StageForecast",
    "Sweep",
    "advise",
    "parse_distribution",
    "recorded",
    "simulate",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "recorded":
        return import_module("rxpipe.foresight.calls.from_store").recorded
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
