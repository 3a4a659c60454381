"""The parts beside the run in ``rxpipe run``: metrics, probes, JSON logs, and systemd's notifications."""

from __future__ import annotations

from rxpipe.config import Config
from rxpipe.service.json_logs import Origin
from rxpipe.service.options import ServiceOptions
from rxpipe.service.service import Service


def service_of(config: Config, options: ServiceOptions, origin: Origin) -> Service:
    """Returns the service that the options ask for beside a config's run.

    Args:
        config: The config.
        options: The options.
        origin: The facts about the run in lines of JSON.

    Raises:
        ConfigError: An address is not valid, or an extra is not installed.
    """
    store = config.database.url if config.durable else None
    return Service(options, name=config.pipeline_name, store=store, origin=origin)
