"""From a config to what it describes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from rxpipe.config.arguments import ArgumentError, bound, hints_of
from rxpipe.config.imports import resolve
from rxpipe.config.model import Config, StageSettings
from rxpipe.config.providers import Providers
from rxpipe.database import DatabaseSink
from rxpipe.errors import ConfigError
from rxpipe.executors import DaskCluster, Processes
from rxpipe.llm.provider import Provider
from rxpipe.operators import Limiter, Retry
from rxpipe.operators.stages.limiter import AllOf
from rxpipe.operators.stages.options import refuse_unknown
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.stage import Stage
from rxpipe.questions.inputs import misfit
from rxpipe.store import RunStore


class RunOptions(TypedDict, total=False):
    """What may be said of a config's run, beside what the config says.

    Attributes:
        fresh: Begin a new run, also if there is one to go on with.
        resume: Go on with a run also if the stages have changed.
        replace: Overwrite rows of another pipeline.
        max_cost: What a run may cost; see ``Pipeline``.
        listeners: Told of all items and calls.
    """

    fresh: bool
    resume: bool
    replace: bool
    max_cost: float | None
    listeners: Sequence[Listener]


def pipeline_of(config: Config, **options: Unpack[RunOptions]) -> Pipeline:
    """The pipeline that a config describes; imports its stages, and touches nothing else.

    Raises:
        ConfigError: A stage cannot be imported, or its function cannot be called with one value; or the run should be
            begun anew or gone on with, and the config keeps none.
        TypeError: There is no such option.
    """
    refuse_unknown(options, RunOptions, "the run of a config")
    fresh, resume = options.get("fresh", False), options.get("resume", False)
    if (fresh or resume) and not config.durable:
        raise ConfigError(f"{'fresh' if fresh else 'resume'}: a run that keeps no progress has nothing to go on with")
    providers = Providers(config)
    stages = [_stage_of(stage, config, providers) for stage in config.resolved_stages()]
    _check_inputs(config)
    database = config.database
    return Pipeline(
        *stages,
        sink=DatabaseSink(database.url, table=database.table, replace=options.get("replace", False)),
        strategy=config.strategy,
        scheduler=config.scheduler,
        concurrency=config.pipeline_config.parallel_pipelines,
        store=RunStore(fresh=fresh, resume=resume) if config.durable else None,
        max_cost=options.get("max_cost"),
        listeners=options.get("listeners", ()),
        name=config.pipeline_name,
    )


def _check_inputs(config: Config) -> None:
    """See that a shipped stage can take what the stage before is annotated to return, or the ID if it is the first.

    Raises:
        ConfigError: It cannot.
    """
    came_from, hint = "it is the first stage and gets the ID", int | str
    for stage in config.resolved_stages():
        where = config.where(f"{stage.key}.call")
        call = resolve(stage.call, config.folder, where=where)
        if reason := misfit(hint, call):
            raise ConfigError(f"{where}: {stage.call} {reason}: {came_from}")
        came_from = f"that is what {stage.call} is annotated to return"
        hint = hints_of(call).get("return", Any)


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
        )
    except TypeError as error:
        raise ConfigError(f"{where}: {stage.call!r}: {error}") from None


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
