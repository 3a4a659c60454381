"""A config as one call of Python code."""

from __future__ import annotations

import os
from typing import Unpack

from rxpipe.config.build import RunOptions, pipeline_of
from rxpipe.config.field_fits import check_source_fields
from rxpipe.config.model import Config, load_config
from rxpipe.config.sources import read_source
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.pipeline import Pipeline


def load_pipeline(path: str | os.PathLike[str], **options: Unpack[RunOptions]) -> Pipeline:
    """Returns the pipeline that a config describes; ``docs/config_file.md`` has the keys of a config.

    Of the config's ``source`` only ``on_change`` is used.

    Args:
        path: The YAML file.
        **options: ``fresh=True``: begin a new run, also if there is an unfinished run. ``resume=True``: continue a run
            also if the stages have changed. ``replace=True``: overwrite rows of another pipeline. ``max_cost``: the
            most that a run may cost; by default the config's ``max_cost``. ``listeners``: objects that receive the
            events of all items and calls.

    Raises:
        ConfigError: The config cannot be used. The text names the file, the key, the value and what is allowed.
        TypeError: There is no such option.
    """
    return _limited(load_config(path), options)


def run_config(
    path: str | os.PathLike[str], *, count: int | None = None, until: int | None = None, **options: Unpack[RunOptions]
) -> Report:
    """Run the pipeline that a config describes over its source, as ``rxpipe run`` does, and wait for its end.

    ::

        report = rxpipe.run_config("questions.yaml", count=100)

    Args:
        path: The YAML file.
        count: Take at most this many IDs or records; by default all that the source gives.
        until: End the run when this many items are written; by default the config's ``until``.
        **options: As for ``load_pipeline``.

    Raises:
        ConfigError: The config cannot be used. The text names the file, the key, the value and what is allowed.
        TypeError: There is no such option.
        Exception: Any error of ``Pipeline.run``.
    """
    config = load_config(path)
    limit = config.until if until is None else until
    pipeline, source = _limited(config, options), read_source(config, count=count)
    check_source_fields(config, source)
    return pipeline.run(source, until=limit)


def _limited(config: Config, options: RunOptions) -> Pipeline:
    """Returns the config's pipeline; without the option ``max_cost``, with the config's."""
    if options.get("max_cost") is None:
        options["max_cost"] = config.max_cost
    return pipeline_of(config, **options)
