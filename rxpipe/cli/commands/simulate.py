"""``rxpipe simulate``."""

from __future__ import annotations

import json
from dataclasses import replace

from rxpipe.cli.commands.simulated import Request, Subject, subject_of
from rxpipe.cli.messages import configure_logs
from rxpipe.cli.views.forecast import print_forecast
from rxpipe.foresight.forecast import Forecast
from rxpipe.foresight.simulation import forecast_of


def simulate(request: Request, *, as_json: bool) -> None:
    """Simulate a config's run, and show the forecast.

    Raises:
        ConfigError: The config cannot be simulated, or an option cannot be used.
    """
    configure_logs()
    subject = subject_of(request)
    forecast = noted(subject, forecast_of(subject.scenario, seed=request.seed, replications=request.replications))
    if as_json:
        print(json.dumps({**subject.as_json, **forecast.as_json()}))
    else:
        print_forecast(forecast, f"{subject.config.pipeline_name}: a simulation, {subject.drawn_from}")


def noted(subject: Subject, forecast: Forecast) -> Forecast:
    """Returns the forecast with the assumptions of the command line."""
    return replace(forecast, assumptions=(*forecast.assumptions, *subject.notes))
