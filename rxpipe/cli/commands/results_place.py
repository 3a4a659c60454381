"""Describes where the results of a config go."""

from __future__ import annotations

import os

from sqlalchemy import make_url

from rxpipe.config import Config
from rxpipe.database.engine import file_of, shown


def results_place(config: Config) -> str:
    """Returns the table, or the file and its run store."""
    if config.output is None:
        return f"{shown(config.database.url)}, table {config.database.table}"
    store = f", run store {shown(config.database.url)}" if config.durable else ""
    return f"{config.output.jsonl}{store}"


def results_title(config: Config) -> str:
    """Returns the database or the file, in short."""
    return shown(config.database.url) if config.output is None else config.output.jsonl


def results_file(config: Config) -> str | None:
    """Returns the whole path of the results' file; None if the results go to a database on a server."""
    if config.output is None:
        return file_of(make_url(config.database.url))
    return os.path.abspath(config.output.jsonl)
