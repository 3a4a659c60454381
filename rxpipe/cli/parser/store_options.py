"""The options that the commands on a run store have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PANEL = "Runs that are kept in a database"


def run_of(given: str) -> str:
    """Returns the number of a run, or ``latest``."""
    if given != "latest" and not (given.isascii() and given.isdecimal()):
        raise typer.BadParameter(f"{given!r}; allowed: the number of a run, or latest")
    return given


Run = Annotated[
    str,
    typer.Argument(
        parser=run_of,
        metavar="RUN",
        help="The run's number, or latest. With --config, latest is that config's latest run.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="CONFIG", help="Use the database of this config.")
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="Use this database. Without --config and --database: the one in the environment variable "
        "RXPIPE_DATABASE, else sqlite:///questions.db.",
    ),
]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document.")]
