"""``Service``: reports a run to its environment, from before it begins to its end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Self

import structlog
from sqlalchemy import URL

from rxpipe.errors import ConfigError
from rxpipe.extras import install
from rxpipe.logs import Logging
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.run.run import Run
from rxpipe.screen.progress import Progress
from rxpipe.screen.terminal import say
from rxpipe.service.address import Address
from rxpipe.service.health import HealthWatch
from rxpipe.service.http_server import Answering, HttpServer
from rxpipe.service.json_logs import LoggedProgress, Origin, all_in_json
from rxpipe.service.notifying import Notifying
from rxpipe.service.options import ServiceOptions
from rxpipe.service.probes import probes
from rxpipe.service.pulse import Pulse
from rxpipe.service.store_watch import StoreWatch
from rxpipe.service.systemd import NotifySocket
from rxpipe.store import RunStore

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Service:
    """Metrics, probes, JSON logs and systemd's notifications beside a run, each only if the options ask for it.

    A context manager. Enter it before anything is run, and leave it when all is over. Standard output is for results:
    what functions print meanwhile goes to standard error.

    Attributes:
        listeners: The listeners to give to the pipeline.
        progress: Shows the run, in place of a screen; None for the usual screen.
    """

    def __init__(self, options: ServiceOptions, *, name: str, store: str | URL | None, origin: Origin) -> None:
        """Check the options.

        Args:
            options: The options.
            name: The pipeline's name.
            store: The database of its store; None without one.
            origin: Adds the run to lines of JSON.

        Raises:
            ConfigError: An address is not valid, or an extra is not installed.
        """
        self._options = options
        self._origin = origin
        origin.pipeline = name
        given = (("--metrics", options.metrics), ("--health", options.health))
        self._addresses = {option: Address.parse(text, option) for option, text in given if text is not None}
        self._health = HealthWatch()
        self._store = StoreWatch(RunStore(store).reader) if self._addresses and store is not None else None
        to = NotifySocket.from_environment()
        self._pulse = None
        if self._addresses or to is not None:
            self._pulse = Pulse(self._health, None if to is None else Notifying(to, self._health))
        self.listeners: Sequence[Listener] = [Logging()] if options.json_logs else []
        self.progress: Progress | None = LoggedProgress() if options.json_logs else None
        self._opened = ExitStack()
        self._paths: dict[str, dict[str, Answering]] = {}
        if options.metrics is not None:
            self._paths["--metrics"] = {"/metrics": self._measure(name)}
        if options.health is not None:
            self._paths["--health"] = probes(self._health, self._store_trouble)

    def _measure(self, name: str) -> Answering:
        check_installed()
        from rxpipe.service.prometheus import PrometheusMetrics

        metrics = PrometheusMetrics(name, _version(), self._health, self._store)
        self._opened.callback(metrics.close)
        self.listeners = [*self.listeners, metrics.listener]
        return metrics.answer

    def _store_trouble(self) -> str:
        return "" if self._store is None else self._store.reason

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.push(self._opened.pop_all())
            opened.enter_context(all_in_json() if self._options.json_logs else redirect_stdout(sys.stderr))
            for address, (option, paths) in self._served().items():
                server = opened.enter_context(HttpServer(address.listen(option), paths))
                for path in paths:
                    self._tell(path.strip("/"), server.url + path)
            for beside in (self._store, self._pulse):
                if beside is not None:
                    opened.enter_context(beside)
            self._opened = opened.pop_all()
        return self

    def _served(self) -> dict[Address, tuple[str, dict[str, Answering]]]:
        """Returns the paths of each address. If both options name one address, one server serves both."""
        found: dict[Address, tuple[str, dict[str, Answering]]] = {}
        for option, address in self._addresses.items():
            found.setdefault(address, (option, {}))[1].update(self._paths[option])
        return found

    def _tell(self, what: str, url: str) -> None:
        if self._options.json_logs:
            _log.info("serving", what=what, url=url)
        elif not self._options.quiet:
            say(f"{what}: {url}", err=True)

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def begin(self, run: Run, pipeline: Pipeline) -> None:
        """The run has begun."""
        self._origin.run = run.number
        self._health.begin(run, pipeline.stages)
        if self._store is not None and run.number is not None:
            self._store.begin(run.number)
        if self._pulse is not None:
            self._pulse.begin(run)

    def drain(self) -> None:
        """A signal came: the run takes no more items."""
        if self._pulse is not None:
            self._pulse.drain()


def check_installed() -> None:
    """Raise if metrics cannot be served.

    Raises:
        ConfigError: The extra is not installed.
    """
    try:
        missing = [one for one in ("opentelemetry.exporter.prometheus", "prometheus_client") if find_spec(one) is None]
    except ModuleNotFoundError:  # a parent package is missing
        missing = ["opentelemetry"]
    if missing:
        raise ConfigError(f"--metrics needs the extra metrics: {install('metrics')}")


def _version() -> str:
    try:
        return version("rxpipe")
    except PackageNotFoundError:  # a checkout that is not installed
        return ""
