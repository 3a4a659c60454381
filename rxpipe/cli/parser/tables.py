"""The command for whoever owns the tables; it imports what it needs when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from rxpipe.cli.messages import errors_told

app = typer.Typer()


@app.command(rich_help_panel="Runs that are kept in a database")
def migrate(
    target: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|URL",
            help="A config: the tables of its store, and its table of results. Or a database's URL: the store's alone.",
            show_default=False,
        ),
    ],
) -> None:
    """Make the tables that workers need, or bring those of an earlier rxpipe up to date; no run begins.

    Where workers are a role that may not make tables, run it as the tables' owner: before the first run, and with each
    new version of rxpipe, before its workers start. No stage is imported or called. Workers of an earlier rxpipe finish
    what they have and end first.
    """
    with errors_told():
        from rxpipe.cli.commands.migrate import migrate as migrate_tables

        migrate_tables(target)
