"""The commands that delete the content of a run store. Each imports its code only when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from rxpipe.cli.messages import errors_told
from rxpipe.cli.parser.store_options import PANEL, Config, Database, Json, run_of

app = typer.Typer()

DryRun = Annotated[bool, typer.Option("--dry-run", metavar="", help="Show what would be deleted, and delete nothing.")]


@app.command(rich_help_panel=PANEL)
def prune(
    run: Annotated[
        list[str] | None,
        typer.Argument(parser=run_of, metavar="RUN", help="The numbers of the runs to delete, or latest."),
    ] = None,
    finished: Annotated[bool, typer.Option("--finished", metavar="", help="Delete only finished runs.")] = False,
    older_than: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="DAYS", help="Delete only runs that no worker has touched for DAYS days."),
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Keep the latest N runs of each pipeline.")
    ] = None,
    dry_run: DryRun = False,
    config: Config = None,
    database: Database = None,
) -> None:
    """Delete the runs that meet all given conditions. With --config only runs of that config are deleted.

    Rows in your table of results are never deleted. A run with an active worker is not deleted. The cache is not
    deleted: use rxpipe cache --clear for that.
    """
    if not run and not finished and older_than is None and keep is None:
        raise typer.BadParameter("which runs? Name some, or give --finished, --older-than or --keep", param_hint="RUN")
    with errors_told():
        from rxpipe.cli.commands.maintenance import Selection, prune_runs
        from rxpipe.cli.commands.store_location import StoreLocation, name_at, number_at, store_at

        place = StoreLocation(config=config, database=database)
        with store_at(place) as engine:
            numbers = [number_at(engine, place, one) for one in run or ()]
            selection = Selection(
                name=name_at(place), numbers=numbers, finished=finished, older_than=older_than, keep=keep
            )
            prune_runs(engine, selection, dry_run=dry_run)


@app.command(rich_help_panel=PANEL)
def forget(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="The IDs of the items to delete.", show_default=False)
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE", help="Read the IDs from a file, one a line, or from standard input with -."
        ),
    ] = None,
    config: Config = None,
    database: Database = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Delete without asking.")] = False,
) -> None:
    """Delete items everywhere: their values, calls, prompts, errors and children, and their rows of results.

    With --config the items of that config's runs and the rows of its table are deleted. Without --config the items of
    all runs in the database are deleted, and no rows of results.

    The cost of their calls stays counted. If a worker has one of the items at the moment, the command refuses and
    deletes nothing.

    On a terminal the command asks first, unless --yes is given.
    """
    with errors_told():
        from rxpipe.cli.commands.forget import forget_items
        from rxpipe.cli.commands.store_location import StoreLocation

        forget_items(StoreLocation(config=config, database=database), ids or [], file, dry_run=dry_run, yes=yes)


@app.command(rich_help_panel=PANEL)
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", metavar="", help="Delete the results instead of listing them.")
    ] = False,
    function: Annotated[
        str | None,
        typer.Option("--stage", metavar="FUNCTION", help="Only results of this function, given as module:function."),
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0.0, metavar="DAYS", help="Only results older than DAYS days.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", metavar="", help="With --clear: show what would be deleted, and delete nothing."),
    ] = False,
    config: Config = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """List or delete the cached results of stages with cache: true, which any run may use again, and what they cost.

    A deleted result is made again by a call when it is needed. Runs and rows do not change.
    """
    if dry_run and not clear:
        raise typer.BadParameter("it goes with --clear", param_hint="--dry-run")
    if clear and as_json:
        raise typer.BadParameter("it goes without --clear", param_hint="--json")
    with errors_told():
        from rxpipe.cli.commands.cache import clear_cache, list_cache
        from rxpipe.cli.commands.store_location import StoreLocation, store_at

        place = StoreLocation(config=config, database=database)
        with store_at(place, as_json=as_json) as engine:
            if clear:
                clear_cache(engine, function=function, older_than=older_than, dry_run=dry_run)
            else:
                list_cache(engine, function=function, older_than=older_than, as_json=as_json)
