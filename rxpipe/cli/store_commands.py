"""The commands that look at and mend runs in a run store; each imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rxpipe.cli.messages import errors_told

app = typer.Typer()

_PANEL = "Runs that are kept in a database"


def _run(given: str) -> str:
    if given != "latest" and not (given.isascii() and given.isdecimal()):
        raise typer.BadParameter(f"{given!r}; allowed: the number of a run, or latest")
    return given


_Run = Annotated[
    str,
    typer.Argument(
        parser=_run, metavar="RUN", help="A run's number, or latest (with a config, its own).", show_default=False
    ),
]
_Config = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="CONFIG", help="Look into the database of this config.")
]
_Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="Look into this database instead. Without both: RXPIPE_DATABASE, else sqlite:///questions.db.",
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_Stage = Annotated[
    str | None, typer.Option(metavar="S", help="Only what failed there; database: what it would not take.")
]


@app.command(rich_help_panel=_PANEL)
def runs(config: _Config = None, database: _Database = None, as_json: _Json = False) -> None:
    """List the runs, and how far they are."""
    with errors_told():
        from rxpipe.cli.history import list_runs
        from rxpipe.cli.place import Place, store_at

        place = Place(config=config, database=database)
        with store_at(place) as engine:
            list_runs(engine, as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def show(run: _Run, config: _Config = None, database: _Database = None, as_json: _Json = False) -> None:
    """Show one run: its stages, its items, why calls failed, who works on it."""
    with errors_told():
        from rxpipe.cli.history import show_run
        from rxpipe.cli.place import Place, number_at, store_at

        place = Place(config=config, database=database)
        with store_at(place) as engine:
            show_run(engine, number_at(engine, place, run), as_json=as_json)


@app.command(rich_help_panel=_PANEL)
def failures(
    run: _Run,
    stage: _Stage = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="So many at most, the latest first; by default 20, with --json all."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All failed calls, also those that were made again and of items since done.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="With traceback and input.")] = False,
    config: _Config = None,
    database: _Database = None,
    as_json: _Json = False,
) -> None:
    """List the items that are dead, and what they failed with in the end."""
    with errors_told():
        from rxpipe.cli.dead_letters import list_failures
        from rxpipe.cli.place import Place, number_at, store_at

        place = Place(config=config, database=database)
        with store_at(place) as engine:
            list_failures(
                engine,
                number_at(engine, place, run),
                stage=stage,
                limit=limit,
                every=every,
                verbose=verbose,
                as_json=as_json,
            )


@app.command(rich_help_panel=_PANEL)
def requeue(
    run: _Run,
    stage: _Stage = None,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Only this item; may be repeated.")
    ] = None,
    config: _Config = None,
    database: _Database = None,
) -> None:
    """Give dead items another chance: the next run takes them up at the stage where they failed."""
    with errors_told():
        from rxpipe.cli.mending import requeue_dead
        from rxpipe.cli.place import Place, number_at, store_at

        place = Place(config=config, database=database)
        with store_at(place) as engine:
            requeue_dead(engine, number_at(engine, place, run), stage=stage, ids=ids or [], config=config)


@app.command(rich_help_panel=_PANEL)
def export(
    run: _Run,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .jsonl, .csv or .parquet.", show_default=False)],
    config: _Config = None,
    database: _Database = None,
) -> None:
    """Write a run into a file: one record for each item, with what each stage returned for it.

    Fields: id, status, each stage's output by its name, value, error, failed_stage, attempts, failures; and
    prompt_tokens, completion_tokens and cost, if the run's calls told any.

    The status is written, failed or unfinished; value is the last stage's output.

    FILE appears, or is replaced, when it is complete.
    """
    with errors_told():
        from rxpipe.cli.mending import export_run
        from rxpipe.cli.place import Place, number_at, store_at

        place = Place(config=config, database=database)
        with store_at(place) as engine:
            export_run(engine, number_at(engine, place, run), file)


@app.command(rich_help_panel=_PANEL)
def workers(
    run: Annotated[
        str | None,
        typer.Argument(parser=_run, metavar="RUN", help="A run's number, or latest; by default of all runs."),
    ] = None,
    ended: Annotated[bool, typer.Option("--all", help="Also those that have stopped or were lost.")] = False,
    config: _Config = None,
    database: _Database = None,
    as_json: _Json = False,
) -> None:
    """List the processes that work on runs, and what they hold.

    A worker is alive, late (its lease ran out, and nobody has taken its items yet), stopped (by itself) or lost.
    """
    with errors_told():
        from rxpipe.cli.history import list_workers
        from rxpipe.cli.place import Place, number_at, store_at

        place = Place(config=config, database=database)
        with store_at(place) as engine:
            list_workers(
                engine,
                None if run is None else number_at(engine, place, run),
                of_all_runs=run is None,
                ended=ended,
                as_json=as_json,
            )


@app.command(rich_help_panel=_PANEL)
def prune(
    run: Annotated[
        list[str] | None, typer.Argument(parser=_run, metavar="RUN", help="The numbers of runs, or latest.")
    ] = None,
    finished: Annotated[bool, typer.Option("--finished", help="Only finished runs.")] = False,
    older_than: Annotated[
        float | None, typer.Option(min=0.0, metavar="DAYS", help="Only runs that nobody has worked on for so long.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Keep the latest runs of each name, so many.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    config: _Config = None,
    database: _Database = None,
) -> None:
    """Delete what is kept of runs: of those that meet all conditions, and with a config only of its own.

    Rows in the table of results are never deleted. A run that a worker is busy with is not, either.
    """
    if not run and not finished and older_than is None and keep is None:
        raise typer.BadParameter("which runs? Name some, or give --finished, --older-than or --keep", param_hint="RUN")
    with errors_told():
        from rxpipe.cli.mending import Selection, prune_runs
        from rxpipe.cli.place import Place, name_at, number_at, store_at

        place = Place(config=config, database=database)
        with store_at(place) as engine:
            numbers = [number_at(engine, place, one) for one in run or ()]
            selection = Selection(
                name=name_at(place), numbers=numbers, finished=finished, older_than=older_than, keep=keep
            )
            prune_runs(engine, selection, dry_run=dry_run)
