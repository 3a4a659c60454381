"""Finds the database for commands on a run store, and reports problems with it."""

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
    """The place of a store, as the command line gives it.

    Attributes:
        config: A config that has the database.
        database: The database's URL, whatever the config says.
    """

    config: Path | None = None
    database: str | None = None


@contextmanager
def store_at(place: StoreLocation, *, as_json: bool = False) -> Generator[Engine]:
    """Yields the store's engine. Prints the database's name at the end, except for a JSON document.

    Raises:
        ConfigError: There is no store. The text names the option, the key or the variable that gave the place.
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
    """Returns the name of a config's runs; None if no config was given, so any name may do."""
    return None if place.config is None else load_config(place.config).pipeline_name


def attempts_at(place: StoreLocation) -> Mapping[str, int]:
    """Returns the most calls that each stage makes for an item, by the config; an empty dict without a config."""
    if place.config is None:
        return {}
    return {stage.name: stage.retry.max_attempts for stage in load_config(place.config).resolved_stages()}


def option_of(place: StoreLocation) -> str:
    """Returns the options that name the store, quoted for a shell, after a blank; an empty text without options."""
    config = "" if place.config is None else f" -c {shlex.quote(str(place.config))}"
    return config + ("" if place.database is None else f" {database_option(place.database)}")


def number_at(engine: Engine, place: StoreLocation, given: str | None) -> int | None:
    """Returns the number of the run that RUN means: a number, or the latest run of the config.

    Returns None for the latest run of all.

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
    """Returns the option, key or variable that gave the database, for error messages, and the URL."""
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
