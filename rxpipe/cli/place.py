"""Which database the commands on a run store look into, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, make_url

from rxpipe.cli.overrides import overridden
from rxpipe.config import Config, load_config
from rxpipe.errors import ConfigError, SinkError
from rxpipe.store.opening import opened

VARIABLE = "RXPIPE_DATABASE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a store is, as the command line says it.

    Attributes:
        config: A config, whose database it is.
        database: The database's URL, whatever the config says.
    """

    config: Path | None = None
    database: str | None = None


@contextmanager
def store_at(place: Place) -> Generator[Engine]:
    """The store's engine.

    Raises:
        ConfigError: There is none; names the option, the key or the variable that says where.
    """
    said_by, url = _url(place)
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(opened(url))
        except (SinkError, ConfigError) as error:
            raise ConfigError(f"{said_by}: {error}" if said_by else str(error)) from None
        yield engine


def _url(place: Place) -> tuple[str, str]:
    """What says where the database is, for error messages, and its URL."""
    if place.database is not None:
        return "--database", overridden(Config(), database=place.database).database.url
    if place.config is not None:
        config = load_config(place.config)
        return config.where("database.url"), config.database.url
    if given := os.environ.get(VARIABLE):
        try:
            return VARIABLE, overridden(Config(), database=given).database.url
        except ConfigError as error:
            raise ConfigError(str(error).replace("--database", VARIABLE, 1)) from None
    url = Config().database.url
    file = make_url(url).database
    if file is None or not os.path.exists(file):
        raise ConfigError(f"which database? Give --config or --database, or set {VARIABLE}; there is no {file} here")
    return "", url
