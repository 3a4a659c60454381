"""What a run is going to take: the same pipeline in virtual time, with calls that are drawn instead of made.

- ``simulation.py``: ``simulate``, which gives a ``Forecast`` (``forecast.py``)
- ``sweeps.py``: ``sweep``, over the values of a setting; ``variants.py``: a pipeline with other settings
- ``adviser.py``: ``advise``, which settings to take; ``search.py``: how they are found
- ``foretelling.py``: the outlook of a live run, beside it, as often as ``allowance.py`` says; ``remaining.py``: what is
  left of it, estimated by simulations of the rest (``rest.py``) from where it stands (``present.py``), with calls drawn
  from what its own took (``live_calls.py``, ``live_seconds.py``)
- ``what_if.py``: what a run would do with other settings, by a stand-in for its pipeline (``stand_in.py``)
- ``record.py``: the calls of a run; ``from_store.py`` reads them; ``recorder.py`` listens to them
- ``recorded_draws.py``: what is drawn from, made of recorded calls
- ``load.py``: how the server slows down under load; ``refusals.py``: which calls it refuses; found from recorded calls
- ``draws.py``: what becomes of the calls of a stage; ``chance.py``: random numbers that do not depend on their order
- ``further_attempts.py``: how likely these fail
- ``distributions.py``: named distributions of seconds, such as ``lognormal(median=2.1, p95=6)``
- ``copies.py``: a pipeline with drawn calls; ``simulated_stage.py``: where these run; ``server.py``: what they go to
- ``paced.py``: the values of a generator; ``few_calls.py``: what a few calls leave open
- ``rare_collections.py``: a simulation's time without much garbage collection

``recorded`` is imported when it is first asked for. SQLAlchemy takes a third of a second, and a script that only shows
its progress has no use for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rxpipe.foresight.adviser import Change, Recommendation, advise
from rxpipe.foresight.draws import Distribution
from rxpipe.foresight.forecast import Forecast, LimitForecast, StageForecast
from rxpipe.foresight.record import RecordedCall, RecordedRun
from rxpipe.foresight.recorder import CallRecorder
from rxpipe.foresight.simulation import simulate
from rxpipe.foresight.sweeps import Point, Sweep, sweep
from rxpipe.insight.interval import Interval

if TYPE_CHECKING:
    from rxpipe.foresight.from_store import recorded

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
    "recorded",
    "simulate",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "recorded":
        return import_module("rxpipe.foresight.from_store").recorded
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
