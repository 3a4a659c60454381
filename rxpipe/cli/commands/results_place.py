"""Where the results of a config go, in words."""

from __future__ import annotations

import os

from sqlalchemy import make_url

from rxpipe.config import Config
from rxpipe.database.engine import file_of, shown


def results_place(config: Config) -> str:
    """The table or the file, and where the run store of a file is."""
    if config.output is None:
        return f"{shown(config.database.url)}, table {config.database.table}"
    store = f", run store {shown(config.database.url)}" if config.durable else ""
    return f"{config.output.jsonl}{store}"


def results_title(config: Config) -> str:
    """The database or the file, in short."""
    return shown(config.database.url) if config.output is None else config.output.jsonl


def results_file(config: Config) -> str | None:
    """The whole path of the file that the results go to; None if that is a database on a server."""
    if config.output is None:
        return file_of(make_url(config.database.url))
    return os.path.abspath(config.output.jsonl)
