"""Turns all of standard error into lines of JSON: lines of structlog, of logging, and the output of functions."""

from __future__ import annotations

import io
import json
import logging
import signal
import sys
from collections.abc import Generator, MutableMapping
from contextlib import contextmanager, redirect_stdout
from typing import Any, Self

import structlog
from structlog.typing import Processor

from rxpipe.screen.figures import Meter

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Origin:
    """A processor that adds the run to each line, and calls an item's ID ``item``.

    Attributes:
        pipeline: The pipeline's name; None while it is not known.
        run: The run's number in its store; None without one.
    """

    def __init__(self) -> None:
        self.pipeline: str | None = None
        self.run: int | None = None

    def __call__(self, _: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Returns the line with the missing fields added."""
        if "id" in event:
            event["item"] = event.pop("id")
        if self.pipeline is not None:
            event.setdefault("pipeline", self.pipeline)
        if self.run is not None:
            event.setdefault("run", self.run)
        return event


def processors(origin: Origin) -> list[Processor]:
    """Returns the processors that make lines of JSON: ``timestamp`` first, then ``level``, ``event``, and the rest."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        origin,
        _first_things_first,
        structlog.processors.dict_tracebacks,
        structlog.processors.JSONRenderer(_json, default=str, ensure_ascii=False),
    ]


def configure_json_logs(origin: Origin, *, quiet: bool = False) -> None:
    """Let structlog write lines of JSON to standard error.

    Args:
        origin: Adds the run to the lines.
        quiet: Only log errors.
    """
    structlog.configure(
        processors=processors(origin),
        wrapper_class=structlog.make_filtering_bound_logger("error" if quiet else "info"),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def are_json() -> bool:
    """Returns True if structlog makes lines of JSON now."""
    made = structlog.get_config()["processors"]
    return bool(made) and isinstance(made[-1], structlog.processors.JSONRenderer)


def log_error(text: str) -> None:
    """Log the final error of a command."""
    _log.error("command failed", error=text)


@contextmanager
def all_in_json() -> Generator[None]:
    """Inside, output of ``logging`` and of functions becomes lines, too: the events ``logged`` and ``printed``."""
    handler, root = _Handler(), logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    printed = _Printed()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        printed.flush_rest()
        logging.captureWarnings(False)
        root.removeHandler(handler)


class LoggedProgress:
    """Shows no progress, as metrics do that. Logs a line for each signal."""

    def begin(self, meter: Meter) -> None:
        """The run has started."""
        self._meter = meter

    def interrupted(self, number: signal.Signals, count: int) -> None:
        """Log a signal, the first or the second."""
        event = "signal received, finishing items" if count == 1 else "signal received, cancelling items"
        _log.info(event, signal=number.name, in_flight=self._meter.read().in_flight)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            say = {logging.WARNING: _log.warning, logging.INFO: _log.info, logging.DEBUG: _log.debug}
            more: dict[str, Any] = {} if record.exc_info is None else {"exc_info": record.exc_info}
            say.get(record.levelno, _log.error)("logged", logger=record.name, text=record.getMessage(), **more)
        except Exception:  # noqa: BLE001 - as in logging: an unwritable line must not stop the program
            self.handleError(record)


class _Printed(io.TextIOBase):
    """A file whose lines are logged."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, lines):
            _log.info("printed", text=line)
        return len(text)

    def flush_rest(self) -> None:
        """Log the text after the last line end."""
        if self._rest.strip():
            self.write("\n")


def _json(event: Any, **options: Any) -> str:
    """Returns a line. Characters without UTF-8 are escaped, as in JSON."""
    return json.dumps(event, **options).encode("utf-8", "backslashreplace").decode("utf-8")


def _first_things_first(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    first = {name: event[name] for name in ("timestamp", "level", "event") if name in event}
    return {**first, **{name: value for name, value in event.items() if name not in first}}
