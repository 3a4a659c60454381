"""From a config to what it describes."""

from __future__ import annotations

from rxpipe.config.imports import resolve
from rxpipe.config.model import Config
from rxpipe.database import DatabaseSink
from rxpipe.operators import Retry
from rxpipe.pipeline import Pipeline, Stage


def pipeline_of(config: Config) -> Pipeline:
    """The pipeline that a config describes; imports its stages, and touches nothing else.

    Raises:
        ConfigError: A stage cannot be imported.
    """
    stages = [
        Stage(
            stage.name,
            resolve(stage.call, config.folder, where=stage.where),
            concurrency=stage.concurrency,
            queue_size=stage.queue_size,
            timeout=stage.timeout,
            retry=Retry(**stage.retry.model_dump()),
        )
        for stage in config.resolved_stages()
    ]
    return Pipeline(
        *stages,
        sink=DatabaseSink(config.database.url, table=config.database.table),
        strategy=config.strategy,
        scheduler=config.scheduler,
        concurrency=config.pipeline_config.parallel_pipelines,
    )
