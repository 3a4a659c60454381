"""``rxpipe run --stay``: a worker that goes on when nothing is left."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any

import structlog

from rxpipe.config import Config
from rxpipe.config.sources import read_source
from rxpipe.errors import ConfigError
from rxpipe.pipeline.rereading import rereading
from rxpipe.pipeline.source import Source

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

EVERY = 30.0
"""The default of ``--every``: seconds from one reading of the source to the next."""


def stay_of(config: Config, *, stay: bool, every: float | None, until: int | None) -> float | None:
    """Returns the seconds from one look for more items to the next; None for a run that ends when nothing is left.

    Args:
        config: The config.
        stay: True if ``--stay`` was given.
        every: The value of ``--every``.
        until: The value of ``--until``.

    Raises:
        ConfigError: The options do not fit together, or the config keeps no progress.
    """
    if not stay:
        if every is not None:
            raise ConfigError("--every says how often a worker that stays looks for more: give --stay, too")
        return None
    if not config.durable:
        raise ConfigError("--stay takes what others submit from a run store, and this run has none")
    if until is not None or config.until is not None:
        given = "--until" if until is not None else config.where("until")
        raise ConfigError(
            f"{given}: it ends a run when so many rows are written, and --stay never ends it: take one out"
        )
    return EVERY if every is None else every


def warn_of_default_source(config: Config, *, count: int | None) -> None:
    """Warn if nobody chose the IDs of a worker that stays: it also does those of the default source."""
    if "source" not in config.model_fields_set and count is None:
        hint = "for submitted items only, write `source: {rows: [], id: id}`"
        _log.warning("the config has no source, so the run has the IDs 1 to 100", hint=hint)


def staying_source(
    config: Config, first: Iterable[Any] | AsyncIterable[Any], *, every: float, count: int | None
) -> Source:
    """Returns the config's source, which is read again and again. Items written in the config are read only once.

    Args:
        config: The config.
        first: The source as first read.
        every: Seconds from one reading to the next.
        count: Take at most this many IDs of each reading; None for all.
    """
    source = config.source
    if source.range is not None or source.rows is not None:  # a worker does not read its config again
        return first
    may_change = source.on_change != "keep"
    return rereading(first, lambda: read_source(config, count=count), every=every, may_change=may_change)
