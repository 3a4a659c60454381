"""Builds the pipeline that a config describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from rxpipe.config.arguments import ArgumentError, bound
from rxpipe.config.imports import resolve
from rxpipe.config.model import Config, StageSettings
from rxpipe.config.providers import Providers
from rxpipe.config.section_base import TARGET
from rxpipe.config.sections import BatchConfig, OutputConfig
from rxpipe.config.stage_fits import check_fits
from rxpipe.config.value_fields import FieldOf, FieldsAre
from rxpipe.database import DatabaseSink
from rxpipe.database.column_paths import columns_object, columns_row, columns_table
from rxpipe.errors import ConfigError
from rxpipe.executors import DaskCluster, Processes
from rxpipe.files import JsonLinesSink
from rxpipe.llm.provider import Provider
from rxpipe.operators import Limiter, RateLimiter, Retry
from rxpipe.operators.stages.limiter import AllOf
from rxpipe.operators.stages.options import Batch, refuse_unknown
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.stage import Stage
from rxpipe.store import RunStore


class RunOptions(TypedDict, total=False):
    """Options of a config's run, besides the config itself.

    Attributes:
        fresh: Begin a new run, also if there is an unfinished run.
        resume: Continue a run also if the stages have changed.
        replace: Overwrite rows of another pipeline.
        max_cost: The most that a run may cost; see ``Pipeline``.
        listeners: Receive the events of all items and calls.
    """

    fresh: bool
    resume: bool
    replace: bool
    max_cost: float | None
    listeners: Sequence[Listener]


def pipeline_of(config: Config, **options: Unpack[RunOptions]) -> Pipeline:
    """Returns the pipeline that a config describes. Imports its stages, and opens and writes nothing.

    Raises:
        ConfigError: A stage cannot be imported, or its function cannot be called with one value. Or ``fresh`` or
            ``resume`` is set, and the config keeps no progress.
        TypeError: There is no such option.
    """
    refuse_unknown(options, RunOptions, "the run of a config")
    fresh, resume = options.get("fresh", False), options.get("resume", False)
    if (fresh or resume) and not config.durable:
        raise ConfigError(f"{'fresh' if fresh else 'resume'}: a run that keeps no progress has nothing to go on with")
    for stage in config.resolved_stages():
        if stage.cache and not config.durable:  # another strategy was asked for; the file itself is checked earlier
            where = config.where(f"{stage.key}.cache")
            raise ConfigError(f"{where}: given true; allowed: false, where no results are kept")
    providers = Providers(config)
    stages = [_stage_of(stage, config, providers) for stage in config.resolved_stages()]
    check_fits(config)
    try:
        return Pipeline(
            *stages,
            sink=sink_of(config, replace=options.get("replace", False)),
            strategy=config.strategy,
            scheduler=config.scheduler,
            concurrency=config.pipeline_config.parallel_pipelines,
            store=_store_of(config, fresh=fresh, resume=resume),
            max_cost=options.get("max_cost"),
            listeners=options.get("listeners", ()),
            name=config.pipeline_name,
        )
    except ValueError as error:  # the stages do not fit the strategy that was asked for
        raise ConfigError(f"{config.where('stages')}: {error}") from None


def sink_of(config: Config, *, replace: bool = False) -> DatabaseSink | JsonLinesSink:
    """Returns the sink for the rows of a config. Nothing is opened."""
    if config.output is not None:
        return _file_sink_of(config.output, replace=replace)
    database = config.database
    options: dict[str, Any] = {"table": database.table, "replace": replace}
    if database.columns is not None:
        options["table"] = columns_table(database.table, database.columns)
        options["row"] = columns_row(database.columns)
    if database.rows is not None:
        options["rows"] = database.rows
    return DatabaseSink(database.url, **options)


def _file_sink_of(output: OutputConfig, *, replace: bool) -> JsonLinesSink:
    options: dict[str, Any] = {"replace": replace}
    if output.columns is not None:
        options["row"] = columns_object(output.columns)
    if output.rows is not None:
        options["rows"] = output.rows
    return JsonLinesSink(output.jsonl, **options)


def _store_of(config: Config, *, fresh: bool, resume: bool) -> RunStore | None:
    if not config.durable:
        return None
    change = config.source.on_change
    options: dict[str, Any] = {} if change == "keep" else {"on_change": change}
    if config.output is not None:
        options["database"] = config.database.url
    return RunStore(fresh=fresh, resume=resume, **options)


def _stage_of(stage: StageSettings, config: Config, providers: Providers) -> Stage:
    where, asked = config.where(f"{stage.key}.call"), list[Limiter]()
    call = resolve(stage.call, config.folder, where=where)

    def provider(name: object, argument: str) -> Provider:
        found = providers.provider(name, key=f"{stage.key}.with.{argument}")
        asked.append(found.limits)
        return found

    try:
        call = bound(call, stage.options, folder=config.folder, provider=provider)
    except ArgumentError as error:
        key = f"{stage.key}.with" + (f".{error.name}" if error.name else "")
        raise ConfigError(f"{config.where(key)}: {error}") from None
    if stage.rate_limit is not None:
        own = providers.limits(stage.rate_limit, key=(key := f"{stage.key}.rate_limit"))
        if own.counts_tokens and own not in asked:
            text = "tokens are counted by a provider only: they belong to the limits of the one that the stage is given"
            raise ConfigError(f"{config.where(key)}: {text}")
        asked.append(own)
    limiters = list(dict.fromkeys(asked))
    retry = stage.retry.model_dump(exclude_none=True)
    try:
        return Stage(
            stage.name,
            call,
            concurrency=stage.concurrency,
            executor=_executor_of(stage, config),
            queue_size=stage.queue_size,
            timeout=stage.timeout,
            retry=Retry(**retry),
            rate_limit=None if not limiters else limiters[0] if len(limiters) == 1 else AllOf(*limiters),
            max_abandoned=stage.max_abandoned,
            version=stage.version,
            **_flow_of(stage, config),
        )
    except TypeError as error:
        raise ConfigError(f"{where}: {stage.call!r}: {error}") from None


def _flow_of(stage: StageSettings, config: Config) -> dict[str, Any]:
    """Returns the given options about the input and output of a stage."""
    options: dict[str, Any] = {
        "when": _when_of(stage, config),
        "key": _key_of(stage, config),
        "expand": stage.expand,
        "collect": stage.collect,
        "batch": None if stage.batch is None else _batch_of(stage.batch),
        "max_rounds": stage.max_rounds,
        "cache": stage.cache or None,
    }
    return {name: option for name, option in options.items() if option is not None}


def _batch_of(section: BatchConfig) -> Batch:
    rate = section.item_rate
    limiter = None if rate is None else RateLimiter(rate.limit, rate.seconds, burst=rate.burst)
    return Batch(max_items=section.max_items, max_seconds=section.max_seconds, item_rate=limiter)


def _when_of(stage: StageSettings, config: Config) -> Callable[[Any], object] | None:
    where = config.where(f"{stage.key}.when")
    if isinstance(stage.when, str):
        return resolve(stage.when, config.folder, where=where)
    return None if stage.when is None else FieldsAre(stage.when, where)


def _key_of(stage: StageSettings, config: Config) -> Callable[[Any], Any] | None:
    key, where = stage.order_key, config.where(f"{stage.key}.key")
    if key is None or not re.search(TARGET, key):
        return None if key is None else FieldOf(key, where)
    return resolve(key, config.folder, where=where)


def _executor_of(stage: StageSettings, config: Config) -> Processes | DaskCluster | None:
    given = stage.executor
    if given is None or given.dask is None:
        return None if given is None or given.processes is None else Processes(given.processes)
    where = f"{stage.key}.executor.dask"
    files = [(config.folder or Path()) / file for file in given.dask.upload]
    for index, file in enumerate(files):
        if not file.is_file():
            raise ConfigError(f"{config.where(f'{where}.upload[{index}]')}: there is no file {file}")
    try:
        return DaskCluster(
            given.dask.address,
            workers=given.dask.workers,
            upload=tuple(map(str, files)),
            timeout=given.dask.timeout,
        )
    except ConfigError as error:  # the extra is not installed
        raise ConfigError(f"{config.where(where)}: {error}") from None
