"""Which database the commands on a run store look into, and what is wrong with it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, make_url

from rxpipe.cli.commands.overrides import overridden
from rxpipe.config import Config, load_config
from rxpipe.database.engine import database_option, whole_url
from rxpipe.errors import ConfigError, SinkError, StoreError
from rxpipe.screen.terminal import say
from rxpipe.secret_values import secret
from rxpipe.store.queries.existing_store import opened, snapshot
from rxpipe.store.queries.history import runs

VARIABLE = "RXPIPE_DATABASE"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLocation:
    """Where a store is, as the command line says it.

    Attributes:
        config: A config, whose database it is.
        database: The database's URL, whatever the config says.
    """

    config: Path | None = None
    database: str | None = None


@contextmanager
def store_at(place: StoreLocation, *, as_json: bool = False) -> Generator[Engine]:
    """The store's engine; in the end, which database it was is told, but not in a JSON document.

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
        if not as_json:
            say(f"database: {whole_url(engine)}")


def name_at(place: StoreLocation) -> str | None:
    """The name of a config's runs; None if no config was given: then it may be any."""
    return None if place.config is None else load_config(place.config).pipeline_name


def attempts_at(place: StoreLocation) -> Mapping[str, int]:
    """How many calls each stage makes for an item at most, by the config; empty if no config was given."""
    if place.config is None:
        return {}
    return {stage.name: stage.retry.max_attempts for stage in load_config(place.config).resolved_stages()}


def option_of(place: StoreLocation) -> str:
    """The options that name the store, as a shell takes them, with a blank before; empty if none were given."""
    config = "" if place.config is None else f" -c {shlex.quote(str(place.config))}"
    return config + ("" if place.database is None else f" {database_option(place.database)}")


def number_at(engine: Engine, place: StoreLocation, given: str | None) -> int | None:
    """The run that RUN means: a number, or the latest one, of the config if there is one; None for the very latest.

    Raises:
        StoreError: The config has no run.
    """
    if given is not None and given != "latest":
        return int(given)
    name = name_at(place)
    if name is None:
        return None
    with snapshot(engine) as connection:
        numbers = [one.id for one in runs(connection) if one.name == name]
    if not numbers:
        raise StoreError(f"{place.config} has not been run yet: there is no run called {name}")
    return numbers[-1]


def _url(place: StoreLocation) -> tuple[str, str]:
    """What says where the database is, for error messages, and its URL."""
    if place.database is not None:
        return "--database", overridden(Config(), database=place.database).database.url
    if place.config is not None:
        config = load_config(place.config)
        return config.where_results, config.database.url
    if given := secret(VARIABLE):
        try:
            return VARIABLE, overridden(Config(), database=given).database.url
        except ConfigError as error:
            raise ConfigError(str(error).replace("--database", VARIABLE, 1)) from None
    url = Config().database.url
    file = make_url(url).database
    if file is None or not os.path.exists(file):
        raise ConfigError(f"which database? Give --config or --database, or set {VARIABLE}; there is no {file} here")
    return "", url
