"""The command for the owner of the tables. It imports its code only when it is called."""

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
            help="A config, for its table of results and the tables of its store. Or a database's URL, for the tables "
            "of the store only.",
            show_default=False,
        ),
    ],
) -> None:
    """Create the tables that workers need, or bring the tables of an earlier rxpipe up to date. No run begins.

    If the workers' database role may not create tables, run this command as the tables' owner. Run it before the first
    run, and before the workers of each new version of rxpipe start. No stage is imported or called. Workers of an
    earlier rxpipe finish their items and end first.
    """
    with errors_told():
        from rxpipe.cli.commands.migrate import migrate as migrate_tables

        migrate_tables(target)
