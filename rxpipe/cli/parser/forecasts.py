"""The commands that simulate a config. Each imports its code only when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rxpipe.cli.messages import errors_told
from rxpipe.cli.parser.values import ConfigPath, Settings, cost_of, count_of, duration_of

app = typer.Typer()

_PANEL = "Foresight: what a run is going to take"


def _runs(given: str) -> str:
    numbers = [part.strip() for part in given.split(",")]
    if given != "latest" and not all(part.isascii() and part.isdecimal() for part in numbers):
        raise typer.BadParameter(f"{given!r}; allowed: the number of a run, several like 3,4, or latest")
    return ",".join(numbers)


_Count = Annotated[
    int | None,
    typer.Option(
        parser=count_of,
        metavar="N",
        help="Number of items that the source gives. Default: the length of the config's range or list, else the "
        "number of items in the recorded run.",
    ),
]
_Until = Annotated[
    int | None,
    typer.Option(
        parser=count_of,
        metavar="N",
        help="End the run when N rows are written. Default: the config's until, else the end of the source.",
    ),
]
_From = Annotated[
    str | None,
    typer.Option(
        "--from",
        parser=_runs,
        metavar="RUN",
        help="Draw calls from this recorded run, from several runs such as 3,4, or from the latest. Default: latest.",
    ),
]
_Database = Annotated[
    str | None, typer.Option(metavar="URL", help="Look for recorded runs in this database instead of the config's.")
]
_Latency = Annotated[
    list[str] | None,
    typer.Option(
        metavar="STAGE=D",
        help="Seconds that a stage's calls take: 2.1, 0.5-3, exponential(mean=2), lognormal(median=2.1, p95=6) or "
        "empirical(FILE). Default: the seconds of recorded calls. Repeat the option for other stages.",
    ),
]
_Server = Annotated[
    str | None,
    typer.Option(
        metavar="slots=N",
        help="Limits of the server. With slots=N it takes N calls at once, and further calls wait there. With "
        "rate=45/s or rate=2700/min it refuses calls beyond this rate. Both: slots=50,rate=45/s.",
    ),
]
_Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of all random draws.")]
_Replications = Annotated[
    int | None,
    typer.Option(
        parser=count_of,
        metavar="N",
        help="Number of random simulations behind the intervals. Default: 30 (12 for advise), or fewer if there "
        "are many items.",
    ),
]
_Sweep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=A..B",
        help="Show how the run changes with a setting: KEY=4..64 or KEY=4,8,16. Give the option twice for a map "
        "of two settings.",
    ),
]
_Html = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --sweep: also write the sweep to this file, as a page.")
]
_Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document.")]


@app.command(rich_help_panel=_PANEL)
def simulate(
    config: ConfigPath,
    count: _Count = None,
    until: _Until = None,
    runs: _From = None,
    database: _Database = None,
    latency: _Latency = None,
    settings: Settings = None,
    server: _Server = None,
    seed: _Seed = 0,
    replications: _Replications = None,
    sweep: _Sweep = None,
    html: _Html = None,
    as_json: _Json = False,
) -> None:
    """Forecast a run: its time, its cost, and its bottleneck. Nothing is called, and nothing is written.

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
            runs=runs,
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


@app.command(rich_help_panel=_PANEL)
def advise(
    config: ConfigPath,
    deadline: Annotated[
        float | None,
        typer.Option(
            parser=duration_of,
            metavar="TIME",
            help="Find the fewest slots that finish the run within this time, such as 2h, 1h30m or 90s. Default: find "
            "the slots that finish soonest.",
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            parser=cost_of,
            metavar="N",
            help="The most that the run may cost, in the currency of your prices. Default: the config's max_cost.",
        ),
    ] = None,
    at_most: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N",
            help="The most calls at once: answering=64 for a stage, main.calls=64 for all stages with the provider "
            "main, total=100 for all stages. Repeat the option for more bounds. A stage without a bound has at most "
            "200.",
        ),
    ] = None,
    count: _Count = None,
    until: _Until = None,
    runs: _From = None,
    database: _Database = None,
    latency: _Latency = None,
    settings: Settings = None,
    server: _Server = None,
    seed: _Seed = 0,
    replications: _Replications = None,
    as_json: _Json = False,
) -> None:
    """Find the slots of each stage that finish a run soonest, or the fewest slots that meet a deadline.

    The command simulates some dozens of settings. Limits and stages that adapt themselves do not change. Nothing is
    called, and nothing is written.

    Exit codes: 0 the deadline and the cost are met, if given; 1 they cannot be met; 2 nothing was simulated.
    """
    with errors_told(config.absolute().parent):
        from rxpipe.cli.commands.advise import advise as advise_config
        from rxpipe.cli.commands.simulated import Request

        request = Request(
            path=config,
            count=count,
            until=until,
            runs=runs,
            database=database,
            latency=latency or (),
            settings=settings or (),
            server=server,
            seed=seed,
            replications=replications,
        )
        ended = advise_config(request, deadline=deadline, max_cost=max_cost, at_most=at_most or (), as_json=as_json)
        raise typer.Exit(ended)
