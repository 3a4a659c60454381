"""Forecasts of runs: the same pipeline runs in virtual time, and draws its calls instead of making them.

- ``simulation.py``: ``simulate``, which returns a ``Forecast`` (``forecast.py``)
- ``sweeps.py``: ``sweep``, which tries the values of a setting; ``variants.py``: a pipeline with other settings
- ``adviser.py``: ``advise``, which recommends settings; ``search.py``: how it finds them
- ``what_if.py``: how fast a live run would go with other settings; ``stand_in.py``: a stand-in for its pipeline
- ``calls/``: recorded calls, and how simulations draw from them
- ``virtual/``: the pipeline in virtual time
- ``live/``: estimates of what is left of a live run

``recorded`` is imported on first use. It needs SQLAlchemy, whose import takes a third of a second, and a script that
only shows its progress does not use it.
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
