"""A config as one call of Python code."""

from __future__ import annotations

import os
from typing import Unpack

from rxpipe.config.build import RunOptions, pipeline_of
from rxpipe.config.field_fits import check_source_fields
from rxpipe.config.model import load_config
from rxpipe.config.sources import read_source
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.pipeline import Pipeline


def load_pipeline(path: str | os.PathLike[str], **options: Unpack[RunOptions]) -> Pipeline:
    """Return the pipeline that a config describes; ``docs/config_file.md`` has its keys.

    Of its ``source`` only ``on_change`` is used.

    Args:
        path: The YAML file.
        **options: ``fresh=True``: begin a new run, also if there is one to go on with. ``resume=True``: go on with
            a run also if the stages have changed. ``replace=True``: overwrite rows of another pipeline.
            ``max_cost``: what a run may cost. ``listeners``: told of all items and calls.

    Raises:
        ConfigError: The config cannot be used; names file, key, value and what is allowed.
        TypeError: There is no such option.
    """
    return pipeline_of(load_config(path), **options)


def run_config(
    path: str | os.PathLike[str], *, count: int | None = None, until: int | None = None, **options: Unpack[RunOptions]
) -> Report:
    """Run the pipeline that a config describes over its source, as ``rxpipe run`` does, and wait for it.

    ::

        report = rxpipe.run_config("questions.yaml", count=100)

    Args:
        path: The YAML file.
        count: Take this many IDs or records at most; by default all that the source gives.
        until: End the run when so many items are written; by default what the config says.
        **options: As for ``load_pipeline``.

    Raises:
        ConfigError: The config cannot be used; names file, key, value and what is allowed.
        TypeError: There is no such option.
        Exception: What ``Pipeline.run`` raises.
    """
    config = load_config(path)
    limit = config.until if until is None else until
    pipeline, source = pipeline_of(config, **options), read_source(config, count=count)
    check_source_fields(config, source)
    return pipeline.run(source, until=limit)
