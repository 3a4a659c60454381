"""``rxpipe check``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

from rich.text import Text

from rxpipe.cli.commands.imports_only import no_bytecode
from rxpipe.cli.commands.results_place import results_place
from rxpipe.cli.messages import configure_logs
from rxpipe.cli.views.flow_shape import flow_lines
from rxpipe.config import Config, load_config
from rxpipe.config.build import pipeline_of
from rxpipe.config.field_fits import check_source_fields
from rxpipe.config.imports import resolve
from rxpipe.config.sections import RetryConfig
from rxpipe.config.sources import read_source
from rxpipe.database.engine import open_engine, shown
from rxpipe.errors import ConfigError, SinkError
from rxpipe.pipeline.source import length
from rxpipe.screen.tables import Column, print_table
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import number, plural
from rxpipe.store.schema.database import Database


def check(path: Path) -> None:
    """Check a config as far as possible without calling, connecting or writing, and show the pipeline that would run.

    Raises:
        ConfigError: The config would not run.
    """
    configure_logs()
    with redirect_stdout(sys.stderr), no_bytecode():
        config = load_config(path)
        pipeline_of(config)
        _check_database(config)
        source = _source(config)
    console = SafeConsole()
    console.print(Text(f"{path} is valid", style="green"), soft_wrap=True)
    console.print()
    print_table(console, stage_columns(config), elsewhere="a wider one shows them")
    console.print()
    for name, value in _lines(config, source):
        label = Text(f"{name:<11}", style="bold")
        console.print(hanging(console, label, value, "not bold"), soft_wrap=True)


def stage_columns(config: Config) -> list[Column]:
    """Returns the stages with the settings that have an effect."""
    stages = config.resolved_stages()
    columns = [
        Column(title="stage", cells=[stage.name for stage in stages], justify="left"),
        Column(title="call", cells=[stage.call for stage in stages], justify="left", rank=3),
        Column(title="timeout", cells=[f"{stage.timeout:g} s" for stage in stages]),
    ]
    if any(stage.executor for stage in stages):
        places = [str(stage.executor) if stage.executor else "" for stage in stages]
        columns.insert(2, Column(title="executor", cells=places, justify="left", rank=1))
    if config.strategy != "per_item":  # per_item has one limit for all stages together
        columns += [
            Column(title="slots", cells=[f"{stage.concurrency}" for stage in stages], rank=1),
            Column(title="queue", cells=[number(stage.queue_size) for stage in stages], rank=2),
        ]
    return columns


def _retries(config: Config) -> str:
    """Describe the retries of all stages, and of each stage with its own retries."""
    common = config.pipeline_config.retry
    own = [f"{stage.name}: {_attempts(stage.retry)}" for stage in config.resolved_stages() if stage.retry != common]
    return "; ".join([_attempts(common), *own])


def _attempts(retry: RetryConfig) -> str:
    """Describe the attempts, and the delays between them without the jitter: ``3 attempts, 1, 2 s apart``."""
    times = range(min(retry.max_attempts, 5) - 1)
    delays = ", ".join(f"{min(retry.max_delay, retry.initial * retry.backoff_factor**n):g}" for n in times)
    more = ", …" if retry.max_attempts > 5 else ""
    return plural(retry.max_attempts, "attempt") + (f", {delays}{more} s apart" if delays else "")


def _lines(config: Config, source: str) -> list[tuple[str, str]]:
    strategy: str = config.strategy
    if config.strategy == "per_item":
        strategy += f", {plural(config.pipeline_config.parallel_pipelines, 'item')} at once"
    return [
        ("name", config.pipeline_name),
        ("strategy", strategy),
        ("scheduler", config.scheduler),
        ("retries", _retries(config)),
        ("source", source),
        *(("" if index else "flow", line) for index, line in enumerate(flow_lines(config))),
        *([] if config.until is None else [("until", f"{plural(config.until, 'row')} written")]),
        *([] if config.max_cost is None else [("max_cost", f"{config.max_cost:g}")]),
        ("durable", "yes, the same command goes on where a run was left" if config.durable else "no"),
        ("database" if config.output is None else "output", results_place(config)),
    ]


def _check_database(config: Config) -> None:
    """Check that the URL is valid, its driver is installed and its folder is there. Nothing is connected to."""
    urls = {config.where_results: config.database.url, config.where("source.url"): config.source.url}
    for where, url in urls.items():
        if url is not None:
            try:
                open_engine(url).dispose()
                if config.durable and where == config.where_results:
                    Database(url).close()
            except (ConfigError, SinkError) as error:
                raise ConfigError(f"{where}: {error}") from None


def _source(config: Config) -> str:
    """Describe the source. A file is read, a function is looked up, a query is not run."""
    source = config.source
    if source.call is not None:
        resolve(source.call, config.folder, where=config.where("source.call"))
        return f"call {source.call}"
    if source.sql is not None:
        return f"sql {' '.join(source.sql.split())} on {shown(source.url or config.database.url)}"
    given = read_source(config)
    check_source_fields(config, given)
    total = plural(length(given) or 0, "ID" if source.id is None else "record")
    for kind in ("file", "csv", "jsonl", "parquet"):
        if (name := getattr(source, kind)) is not None:
            return f"{kind} {name}, {total}"
    ids = source.range.ids() if source.range is not None else range(0)
    return f"range {ids[0]} to {ids[-1]}, {total}" if ids else total
