"""The commands that show and repair runs in a run store. Each imports its code only when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rxpipe.cli.messages import errors_told
from rxpipe.cli.parser.store_options import PANEL, Config, Database, Json, Run, run_of

app = typer.Typer()

_Stage = Annotated[
    str | None,
    typer.Option(
        metavar="S",
        help="Only items that failed in this stage. The name database stands for rows that the database refused.",
    ),
]


@app.command(rich_help_panel=PANEL)
def runs(config: Config = None, database: Database = None, as_json: Json = False) -> None:
    """List the runs, and the progress of each."""
    with errors_told():
        from rxpipe.cli.commands.history import list_runs
        from rxpipe.cli.commands.store_location import StoreLocation, store_at

        place = StoreLocation(config=config, database=database)
        with store_at(place, as_json=as_json) as engine:
            list_runs(engine, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def show(
    run: Run,
    item: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Show this item instead of the run: its input, and each of its calls."),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", metavar="", help="With --id: also show whole values, tracebacks, prompts and replies."
        ),
    ] = False,
    config: Config = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Show one run: its stages, items, reasons of failed calls, and workers. Or one item, with --id.

    For an item the command shows each call: its stage, attempt, wait, seconds and cost, and its result or error.
    """
    if verbose and item is None:
        raise typer.BadParameter("it goes with --id", param_hint="--verbose")
    with errors_told():
        from rxpipe.cli.commands.history import show_run
        from rxpipe.cli.commands.show_item import show_item
        from rxpipe.cli.commands.store_location import StoreLocation, number_at, store_at

        place = StoreLocation(config=config, database=database)
        with store_at(place, as_json=as_json) as engine:
            number = number_at(engine, place, run)
            if item is None:
                show_run(engine, number, as_json=as_json)
            else:
                show_item(engine, place, number, item, verbose=verbose, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def view(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="[CONFIG]", help="Use the database of this config.", show_default=False),
    ] = None,
    database: Database = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Listen at this address. On other machines, a browser needs the token in the printed address. "
            "Nothing is encrypted: put a server with TLS in front of the page.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="N", help="Listen at this port. Default: the first free port from 8765 on."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="With --host: a name by which browsers reach the page. Repeat the option for other names.",
        ),
    ] = None,
    read_only: Annotated[
        bool,
        typer.Option("--read-only", metavar="", help="Show everything, but let nobody requeue items or stop runs."),
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", metavar="", help="Do not open a browser.")] = False,
) -> None:
    """Show live and past runs on a page, until Ctrl-C: their bottlenecks, items, prompts and errors."""
    with errors_told():
        from rxpipe.cli.commands.store_location import StoreLocation
        from rxpipe.cli.commands.view import Options
        from rxpipe.cli.commands.view import view as view_runs

        options = Options(
            host=host, port=port, names=tuple(allow_host or ()), read_only=read_only, browser=not no_browser
        )
        view_runs(StoreLocation(config=config, database=database), options)


@app.command(rich_help_panel=PANEL)
def failures(
    run: Run,
    stage: _Stage = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Show at most N failures, the latest first. Default: 20, or all with --json."
        ),
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all", metavar="", help="Show every failed call, including calls of items that succeeded later."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", metavar="", help="Also show tracebacks and inputs.")
    ] = False,
    item: Annotated[str | None, typer.Option("--id", hidden=True)] = None,
    config: Config = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """List the dead letters: the failed items, and the last error of each.

    To see all calls of one item, use rxpipe show RUN --id ID.
    """
    if item is not None:
        raise typer.BadParameter(f"one item is shown by rxpipe show {run} --id {item}", param_hint="--id")
    with errors_told():
        from rxpipe.cli.commands.failures import list_failures
        from rxpipe.cli.commands.store_location import StoreLocation, number_at, store_at

        place = StoreLocation(config=config, database=database)
        with store_at(place, as_json=as_json) as engine:
            list_failures(
                engine,
                number_at(engine, place, run),
                place,
                stage=stage,
                limit=limit,
                every=every,
                verbose=verbose,
                as_json=as_json,
            )


@app.command(rich_help_panel=PANEL)
def requeue(
    run: Run,
    stage: _Stage = None,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Only this item. Repeat the option for more items.")
    ] = None,
    rows: Annotated[
        bool,
        typer.Option(
            "--rows",
            metavar="",
            help="Write the rows of written items again, and requeue no failed items. No function is called.",
        ),
    ] = False,
    config: Config = None,
    database: Database = None,
) -> None:
    """Make failed items ready again. The next run continues each item at the stage where it failed."""
    with errors_told():
        from rxpipe.cli.commands.maintenance import requeue_failed, requeue_written
        from rxpipe.cli.commands.store_location import StoreLocation, number_at, store_at
        from rxpipe.errors import ConfigError

        place = StoreLocation(config=config, database=database)
        with store_at(place) as engine:
            number = number_at(engine, place, run)
            if rows and stage is not None:
                raise ConfigError("--rows is for written items, and --stage for those that failed")
            if rows:
                requeue_written(engine, number, ids=ids or [], place=place)
            else:
                requeue_failed(engine, number, stage=stage, ids=ids or [], place=place)


@app.command(rich_help_panel=PANEL)
def export(
    run: Run,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The file to write. Its name ends in .jsonl, .csv or .parquet.", show_default=False
        ),
    ],
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="A,B.C",
            help="Write a flat table with these fields of the value. B.C is field C of field B. Default: CSV and "
            "Parquet have all fields.",
        ),
    ] = None,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="S,S",
            help="Only items with these statuses: written, failed, dropped, expanded, collected or unfinished.",
        ),
    ] = None,
    stages: Annotated[
        bool,
        typer.Option(
            "--stages",
            metavar="",
            help="In CSV and Parquet: write what each stage returned, as JSON, instead of the value's fields.",
        ),
    ] = False,
    formulas: Annotated[
        bool,
        typer.Option(
            "--formulas", metavar="", help="In CSV: do not change text that a spreadsheet takes for a formula."
        ),
    ] = False,
    bom: Annotated[
        bool,
        typer.Option("--bom", metavar="", help="In CSV: begin with a byte order mark, so that Excel recognizes UTF-8."),
    ] = False,
    config: Config = None,
    database: Database = None,
) -> None:
    """Write a run into a file: one record for each item. Children follow their parents.

    Fields: id, status, each stage's output by the stage's name, value, error, failed_stage, attempts, failures. If
    items have children: parent. If the run's calls reported usage: prompt_tokens, completion_tokens and cost.

    The status is written, failed, dropped, expanded, collected or unfinished. The value is the last stage's output. The
    error of a dropped item is the reason.

    CSV and Parquet have a column for each field of the item's newest output, instead of the stages and the value.

    FILE appears, or is replaced, only when the export is complete.
    """
    with errors_told():
        from rxpipe.cli.commands.maintenance import ExportOptions, export_run
        from rxpipe.cli.commands.store_location import StoreLocation, number_at, store_at

        place = StoreLocation(config=config, database=database)
        with store_at(place) as engine:
            number = number_at(engine, place, run)
            options = ExportOptions(columns=columns, statuses=status, stages=stages, formulas=formulas, bom=bom)
            export_run(engine, number, file, options)


@app.command(rich_help_panel=PANEL)
def workers(
    run: Annotated[
        str | None,
        typer.Argument(parser=run_of, metavar="RUN", help="The run's number, or latest. Default: all runs."),
    ] = None,
    ended: Annotated[
        bool, typer.Option("--all", metavar="", help="Also show workers that have stopped or were lost.")
    ] = False,
    config: Config = None,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """List the processes that work on runs, and how many items each holds.

    A worker is alive, late (its lease has run out, and no other worker has taken its items yet), stopped (it ended by
    itself) or lost (other workers have taken its items).
    """
    with errors_told():
        from rxpipe.cli.commands.history import list_workers
        from rxpipe.cli.commands.store_location import StoreLocation, number_at, store_at

        place = StoreLocation(config=config, database=database)
        with store_at(place, as_json=as_json) as engine:
            list_workers(
                engine,
                None if run is None else number_at(engine, place, run),
                of_all_runs=run is None,
                ended=ended,
                as_json=as_json,
            )
