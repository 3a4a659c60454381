"""``rxpipe migrate``."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, inspect

from rxpipe.cli.commands.overrides import overridden
from rxpipe.cli.messages import configure_logs
from rxpipe.config import Config, load_config
from rxpipe.config.build import sink_of
from rxpipe.database.engine import open_engine, whole_url
from rxpipe.database.sink import DatabaseSink
from rxpipe.errors import ConfigError, SinkError
from rxpipe.screen.terminal import say
from rxpipe.screen.texts import plural
from rxpipe.store.maintenance.migrate import Migrated, migrate_store


def migrate(target: str) -> None:
    """Create the tables that workers need, or bring them up to date, and print which.

    Args:
        target: A config, or the URL of a database. With a URL only the store's tables are created.

    Raises:
        ConfigError: The config cannot be used, or keeps nothing in a database.
        SinkError: The tables cannot be created or changed.
    """
    configure_logs()
    if "://" in target or target.startswith("${"):
        database = overridden(Config(), database=target).database.url
        _tell_store(migrate_store(database))
    else:
        config = load_config(Path(target))
        database = config.database.url
        if config.output is not None and not config.durable:
            raise ConfigError(f"{config.where_results}: rows go into a file, and no run is kept: there are no tables")
        try:
            _migrate(config)
        except SinkError as error:
            raise ConfigError(f"{config.where_results}: {error}") from None
    engine = open_engine(database)
    say(f"database: {whole_url(engine)}")
    engine.dispose()


def _migrate(config: Config) -> None:
    if config.durable:
        _tell_store(migrate_store(config.database.url))
    if config.output is None:
        _make_table(config)


def _tell_store(told: Migrated) -> None:
    say(f"store: schema {told.schema}, {plural(told.tables, 'table')}, {_what(told)}")


def _what(told: Migrated) -> str:
    if told.before == 0:
        return "made"
    return "as it was" if told.before == told.schema else f"brought up to date from schema {told.before}"


def _make_table(config: Config) -> None:
    """Create the table of results, and the table that says which pipeline writes into it."""
    sink = sink_of(config)
    assert isinstance(sink, DatabaseSink)
    engine = open_engine(config.database.url)
    try:
        was_there = _has_table(engine, config.database.table)
        writer = sink.writer_on(engine, owned=True)
        writer.close()
    finally:
        engine.dispose()
    say(f"table {writer.place}: {'as it was' if was_there else 'made'}")


def _has_table(engine: Engine, name: str) -> bool:
    """Returns True if the table exists. If that cannot be found out, creating it will say why."""
    try:
        return inspect(engine).has_table(name)
    except Exception:  # noqa: BLE001 - the writer has a message for any error
        return False
