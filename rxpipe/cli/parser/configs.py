"""The commands on configs, and the program as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from rxpipe.cli.messages import errors_told, flowing
from rxpipe.cli.parser import deletions, forecasts, models, stores, tables
from rxpipe.cli.parser.help import Group
from rxpipe.cli.parser.values import ConfigPath, Settings, cost_of, count_of, duration_of

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run pipelines that YAML files describe. Stages run concurrently, with timeouts, retries and "
    "backpressure. The results go into a database.",
)


def _failures(given: str) -> str:
    from rxpipe.cli.views.failures import FailureLimit

    try:
        FailureLimit.parse(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r}; allowed: a count like 20, or a share like 5%") from None
    return given


def _logs(given: str) -> str:
    if given not in ("text", "json"):
        raise typer.BadParameter(f"{given!r}; allowed: text or json")
    return given


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from rxpipe.store.schema.migrations import newest_version

        typer.echo(f"rxpipe {version('rxpipe')}, store schema {newest_version()}")
        raise typer.Exit


@app.callback()
def rxpipe(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_version,
            is_eager=True,
            help="Show the version of rxpipe and of the store's tables, and exit.",
        ),
    ] = False,
) -> None:
    """Take the options before the command."""


@app.command()
def run(
    config: ConfigPath,
    count: Annotated[
        int | None,
        typer.Option(
            parser=count_of,
            metavar="N",
            help="Take only the first N IDs of the source. A range gives N IDs from its start, even beyond its end.",
        ),
    ] = None,
    until: Annotated[
        int | None,
        typer.Option(
            parser=count_of,
            metavar="N",
            help="End the run when it has N rows, including rows of its earlier processes. The run never writes more. "
            "Further IDs of the source replace items that fail or are dropped.",
        ),
    ] = None,
    settings: Settings = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="S", help="How items move: per_stage, per_item or staged. Default: the config's strategy."
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="S", help="Where functions run: threads or asyncio. Default: the config's scheduler."),
    ] = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Use this database instead of the config's.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", metavar="", help="Begin a new run instead of continuing the latest one.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Continue although stages have changed. The first changed stage and all later stages are called "
            "again.",
        ),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", metavar="", help="Allow the run to write into another pipeline's table and overwrite its rows."
        ),
    ] = False,
    max_failures: Annotated[
        str | None,
        typer.Option(
            parser=_failures,
            metavar="N|P%",
            help="Stop the run when N items have failed, or more than P% of the ended items (from 20 ended items on). "
            "Items in progress finish.",
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            parser=cost_of,
            metavar="N",
            help="Stop before the run costs more than N, in the currency of your prices. Default: the config's "
            "max_cost. Calls in flight can exceed N by their own cost at most. The spending of the run's earlier "
            "processes counts, except for calls in flight when a process was killed. Each of several workers may "
            "spend what was left when that worker started.",
        ),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="S",
            help="Seconds that items get to finish after Ctrl-C or SIGTERM. Default: the config's grace.",
        ),
    ] = None,
    stay: Annotated[
        bool,
        typer.Option(
            "--stay",
            metavar="",
            help="Keep running when nothing is left. Read the source again and again, and take items of rxpipe submit.",
        ),
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            parser=duration_of,
            metavar="DURATION",
            help="With --stay: the time to wait before reading the source again, such as 30s or 5m. Default: 30s.",
        ),
    ] = None,
    view: Annotated[
        bool,
        typer.Option(
            "--view", metavar="", help="Also show the run on a page, for this machine only. The page ends with the run."
        ),
    ] = False,
    view_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="N",
            help="Like --view, but at this port. Default: the first free port from 8765 on.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Serve the run's metrics for Prometheus at this address, under /metrics."
        ),
    ] = None,
    health: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve probes at this address. /livez answers 200 unless the run is stalled. /readyz answers 200 "
            "while the run takes items.",
        ),
    ] = None,
    logs: Annotated[
        str,
        typer.Option(
            parser=_logs, metavar="text|json", help="The form of the logs. With json, each event is one line of JSON."
        ),
    ] = "text",
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            metavar="",
            help="Leave out the waits and faults of a rehearsal, such as examples/questions.yaml. The rows stay the "
            "same.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="Show only errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print the report as one JSON object.")] = False,
) -> None:
    """Run a pipeline over all IDs of its source.

    Run the same command again to continue a run, whatever ended the run. Each unfinished item continues after its last
    finished stage. The source's new IDs are added. Start the command on several machines with the same PostgreSQL
    database, and they share the work.

    With --stay the worker does not end when nothing is left. It takes the items of rxpipe submit, until Ctrl-C or
    SIGTERM.

    The first Ctrl-C lets the items on their way finish. A second Ctrl-C cancels them.

    Exit codes: 0 all rows are written, or as many as --until says; 1 items failed or the run ended early; 2 nothing was
    run (bad usage, config or database); 130 after Ctrl-C; 143 after SIGTERM.
    """
    with errors_told(config.absolute().parent):
        from rxpipe.cli.commands.run import Options
        from rxpipe.cli.commands.run import run as run_config
        from rxpipe.service.options import ServiceOptions

        options = Options(
            count=count,
            until=until,
            settings=settings or (),
            strategy=strategy,
            scheduler=scheduler,
            database=database,
            fresh=fresh,
            resume=resume,
            replace=replace,
            max_failures=max_failures,
            max_cost=max_cost,
            grace=grace,
            quiet=quiet,
            as_json=as_json,
            view=view,
            view_port=view_port,
            stay=stay,
            every=every,
            service=ServiceOptions(metrics=metrics, health=health, json_logs=logs == "json", quiet=quiet),
            fast=fast,
        )
        raise typer.Exit(run_config(config, options))


@app.command()
def submit(
    config: ConfigPath,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", help="The IDs to submit.", show_default=False)
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Read the items from a file, or from standard input with -. Each line is an ID or a record (a JSON "
            "object).",
        ),
    ] = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Use this database instead of the config's.")
    ] = None,
) -> None:
    """Put items into the config's store, for its workers: those that stay, or the next rxpipe run.

    No stage is called. Exactly one worker takes each item. An item that the run already has does not change.
    """
    with errors_told(config.absolute().parent):
        from rxpipe.cli.commands.submit import submit_items

        submit_items(config, ids or [], file, database)


@app.command()
def check(config: ConfigPath) -> None:
    """Validate a config, import its stages and show what would run. Nothing is called or written."""
    with errors_told(config.absolute().parent):
        from rxpipe.cli.commands.check import check as check_config

        check_config(config)


@app.command()
def compare(
    config: ConfigPath,
    latency: Annotated[
        str,
        typer.Option(
            metavar="STAGE=S,...", help="Seconds to add to each call of a stage, such as generation=0.03,grading=0.1."
        ),
    ] = "",
    count: Annotated[int, typer.Option(parser=count_of, metavar="N", help="Number of IDs to take.")] = 300,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with a timeline of each run to this file.")
    ] = None,
    simulated: Annotated[
        bool,
        typer.Option(
            "--simulated",
            metavar="",
            help="Simulate the runs instead, in about a second. Nothing is called. Calls take the seconds of "
            "--latency. Without --latency they take the seconds of recorded calls.",
        ),
    ] = False,
    runs: Annotated[
        str | None,
        typer.Option(
            metavar="N,N",
            help="Show these runs of the config's store side by side, and run nothing. rxpipe runs lists the numbers.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print the figures as JSON.")] = False,
) -> None:
    """Compare the strategies: run the same work on every strategy and scheduler, into temporary databases.

    Each of the six runs calls your functions. If calls cost money, you pay six times.

    With --simulated nothing is called.

    With --runs 1,2 nothing is run: the command shows runs that exist already, such as those of rxpipe run --fresh --set
    KEY=VALUE.

    To compare settings without a run, use rxpipe simulate --sweep.
    """
    with errors_told(config.absolute().parent):
        if runs is not None:
            from rxpipe.cli.commands.compare_runs import compare_runs

            compare_runs(config, runs, html=html, simulates=simulated or bool(latency), as_json=as_json)
            return
        from rxpipe.cli.commands.compare import compare as compare_config

        raise typer.Exit(
            compare_config(config, latency=latency, count=count, html=html, simulated=simulated, as_json=as_json)
        )


@app.command()
def init(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="The folder for the files. The command creates the folder if it is missing.",
            show_default=False,
        ),
    ],
) -> None:
    """Write a config and a module of stages to start from. No file is overwritten."""
    with errors_told():
        from rxpipe.cli.commands.init import start

        start(folder)


@app.command()
def schema() -> None:
    """Print the JSON schema of configs, for editors."""
    with errors_told():
        from rxpipe.config import Config

        typer.echo(json.dumps(Config.model_json_schema(), indent=2))


for part in (forecasts.app, stores.app, deletions.app, tables.app, models.app):
    app.add_typer(part)
for part in (app, forecasts.app, stores.app, deletions.app, tables.app, models.app):
    flowing(part)
