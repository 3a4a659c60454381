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
    help="Run pipelines that YAML files describe: concurrent stages with timeouts, retries and backpressure, "
    "into a database.",
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
            help="Show the version, and that of the store's tables, and exit.",
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
            help="Take only the first N IDs of the source. Of a range, N from its start, also beyond its end.",
        ),
    ] = None,
    until: Annotated[
        int | None,
        typer.Option(
            parser=count_of,
            metavar="N",
            help="End when N rows are written, those of earlier processes of the run included; no more are written. "
            "What fails or is dropped is made up for, as long as the source has more.",
        ),
    ] = None,
    settings: Settings = None,
    strategy: Annotated[
        str | None,
        typer.Option(metavar="S", help="How items move, instead of the config's way: per_stage, per_item or staged."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="S", help="Where functions run, instead of the config's choice: threads or asyncio."),
    ] = None,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Use this database instead of the config's.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", metavar="", help="Begin a new run, even if there is one to go on with.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Go on although stages have changed: the first changed stage and those behind it are called again.",
        ),
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", metavar="", help="Allow writing into another pipeline's table, overwriting its rows."
        ),
    ] = False,
    max_failures: Annotated[
        str | None,
        typer.Option(
            parser=_failures,
            metavar="N|P%",
            help="Stop when N items, or P% of those that have ended, have failed. Items on their way finish.",
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            parser=cost_of,
            metavar="N",
            help="Stop before the run costs more than this, in the currency of your prices. The calls in flight may "
            "exceed it by what they cost, at most. What earlier processes of the run spent counts; what was in flight "
            "when one was killed does not. Each of several workers may spend what was left when it started.",
        ),
    ] = None,
    grace: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="S",
            help="Seconds that items get to finish after Ctrl-C or SIGTERM, instead of the config's.",
        ),
    ] = None,
    stay: Annotated[
        bool,
        typer.Option(
            "--stay",
            metavar="",
            help="Do not end when nothing is left: read the source again and again, and take what rxpipe submit gives.",
        ),
    ] = False,
    every: Annotated[
        float | None,
        typer.Option(
            parser=duration_of,
            metavar="DURATION",
            help="With --stay: how long to wait before the source is read again, like 30s (the default) or 5m.",
        ),
    ] = None,
    view: Annotated[
        bool,
        typer.Option(
            "--view", metavar="", help="Show the run on a page, too, for this machine alone. It ends with the run."
        ),
    ] = False,
    view_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="N",
            help="The same at this port, instead of the first free one from 8765 on.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Serve the run's metrics for Prometheus there, at /metrics."),
    ] = None,
    health: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve probes there: /livez answers 200 unless the run is stalled, /readyz while it takes items.",
        ),
    ] = None,
    logs: Annotated[
        str,
        typer.Option(parser=_logs, metavar="text|json", help="With json, write a line of JSON for all that happens."),
    ] = "text",
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            metavar="",
            help="Leave out the waits and faults of a rehearsal, such as examples/questions.yaml. Same rows.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="Show nothing but errors.")] = False,
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
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="The IDs.", show_default=False)] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Take them from a file, or - for standard input: an ID or a record (a JSON object) a line.",
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
            metavar="STAGE=S,...", help="Seconds to add to each call of a stage, like generation=0.03,grading=0.1."
        ),
    ] = "",
    count: Annotated[int, typer.Option(parser=count_of, metavar="N", help="How many IDs to take.")] = 300,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with a timeline of each run.")] = None,
    simulated: Annotated[
        bool,
        typer.Option(
            "--simulated",
            metavar="",
            help="Call nothing: simulate the runs, in a second. Calls take the latencies, or as long as recorded ones.",
        ),
    ] = False,
    runs: Annotated[
        str | None,
        typer.Option(
            metavar="N,N",
            help="Run nothing: show these runs of the config's store side by side, by the numbers of rxpipe runs.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Write the figures as JSON.")] = False,
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
        Path, typer.Argument(metavar="DIR", help="A folder, which is made if need be.", show_default=False)
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
