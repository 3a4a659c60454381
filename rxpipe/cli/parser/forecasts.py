"""The commands that simulate a config; each imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rxpipe.cli.messages import errors_told

app = typer.Typer()

_PANEL = "Foresight: what a run is going to take"


def _count(given: str | int) -> int:
    if not (str(given).isdecimal() and int(given) >= 1):
        raise typer.BadParameter(f"{given!r}; allowed: a whole number, 1 or more")
    return int(given)


def _run(given: str) -> str:
    if given != "latest" and not (given.isascii() and given.isdecimal()):
        raise typer.BadParameter(f"{given!r}; allowed: the number of a run, or latest")
    return given


_Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The pipeline's YAML file.", show_default=False)]
_Count = Annotated[
    int | None,
    typer.Option(
        parser=_count,
        metavar="N",
        help="How many items the source gives. By default as many as a range or a list in the config has, else as many "
        "as the recorded run had.",
    ),
]
_Until = Annotated[
    int | None,
    typer.Option(parser=_count, metavar="N", help="End when N rows are written, instead of when the source ends."),
]
_From = Annotated[
    str | None,
    typer.Option(
        "--from", parser=_run, metavar="RUN", help="Draw calls from this run, or the latest; that is the default."
    ),
]
_Database = Annotated[
    str | None, typer.Option(metavar="URL", help="Look for recorded runs in this database instead of the config's.")
]
_Latency = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STAGE=D",
        help="Seconds of a stage's calls, instead of recorded ones: 2.1, 0.5-3, exponential(mean=2), "
        "lognormal(median=2.1, p95=6) or empirical(FILE). Give it again for other stages.",
    ),
]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting instead of the config's, like stages.answering.concurrency=14. May be given again.",
    ),
]
_Server = Annotated[
    str | None,
    typer.Option(metavar="slots=N", help="The server takes N calls at once; further ones wait there."),
]
_Seed = Annotated[int, typer.Option(min=0, metavar="N", help="What all chance follows from.")]
_Replications = Annotated[
    int | None,
    typer.Option(
        parser=_count,
        metavar="N",
        help="How many simulations differ by chance, for the intervals; by default 30, or fewer of many items.",
    ),
]
_Sweep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=A..B",
        help="Instead, show how the run changes with a setting: KEY=4..64 or KEY=4,8,16. Give it twice for a map of "
        "two settings.",
    ),
]
_Html = Annotated[Path | None, typer.Option(metavar="FILE", help="With --sweep: write it as a page, too.")]
_Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document.")]


@app.command(rich_help_panel=_PANEL)
def simulate(
    config: _Config,
    count: _Count = None,
    until: _Until = None,
    run: _From = None,
    database: _Database = None,
    latency: _Latency = None,
    settings: _Set = None,
    server: _Server = None,
    seed: _Seed = 0,
    replications: _Replications = None,
    sweep: _Sweep = None,
    html: _Html = None,
    as_json: _Json = False,
) -> None:
    """Forecast a run: its time, its cost, and what holds it up. Nothing is called, and nothing is written.

    The config's own stages, queues, limits and retries run in virtual time. Each call takes the seconds, uses the
    tokens and fails as a recorded call did.
    """
    if html is not None and not sweep:
        raise typer.BadParameter("it goes with --sweep", param_hint="--html")
    with errors_told(config.absolute().parent):
        from rxpipe.cli.commands.simulate import simulate as simulate_config
        from rxpipe.cli.commands.simulated import Request
        from rxpipe.cli.commands.sweep import sweep as sweep_config

        request = Request(
            path=config,
            count=count,
            until=until,
            run=run,
            database=database,
            latency=latency or (),
            settings=settings or (),
            server=server,
            seed=seed,
            replications=replications,
        )
        if sweep:
            sweep_config(request, sweep, html=html, as_json=as_json)
        else:
            simulate_config(request, as_json=as_json)
