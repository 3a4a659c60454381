"""From a config to what it describes."""

from __future__ import annotations

from pathlib import Path

from rxpipe.config.imports import resolve
from rxpipe.config.model import Config, StageSettings
from rxpipe.database import DatabaseSink
from rxpipe.errors import ConfigError
from rxpipe.operators import Retry
from rxpipe.pipeline import Pipeline
from rxpipe.stage import Stage
from rxpipe.store import RunStore


def pipeline_of(config: Config, *, fresh: bool = False, resume: bool = False) -> Pipeline:
    """The pipeline that a config describes; imports its stages, and touches nothing else.

    Args:
        config: The config.
        fresh: Begin a new run, also if there is one to go on with.
        resume: Go on with a run also if the stages have changed.

    Raises:
        ConfigError: A stage cannot be imported, or its function cannot be called with one value.
    """
    return Pipeline(
        *(_stage_of(stage, config.folder) for stage in config.resolved_stages()),
        sink=DatabaseSink(config.database.url, table=config.database.table),
        strategy=config.strategy,
        scheduler=config.scheduler,
        concurrency=config.pipeline_config.parallel_pipelines,
        store=RunStore(fresh=fresh, resume=resume) if config.durable else None,
    )


def _stage_of(stage: StageSettings, folder: Path | None) -> Stage:
    call = resolve(stage.call, folder, where=stage.where)
    try:
        return Stage(
            stage.name,
            call,
            concurrency=stage.concurrency,
            queue_size=stage.queue_size,
            timeout=stage.timeout,
            retry=Retry(**stage.retry.model_dump()),
            max_abandoned=stage.max_abandoned,
            version=stage.version,
        )
    except TypeError as error:
        raise ConfigError(f"{stage.where}: {stage.call!r}: {error}") from None
