"""A config as one call of Python code."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rxpipe.config.build import pipeline_of
from rxpipe.config.ids import read_ids
from rxpipe.config.model import load_config
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.pipeline import Pipeline


def load_pipeline(
    path: str | os.PathLike[str],
    *,
    fresh: bool = False,
    resume: bool = False,
    replace: bool = False,
    max_cost: float | None = None,
    listeners: Sequence[Listener] = (),
) -> Pipeline:
    """Return the pipeline that a config describes; see the guide for its keys. Its ``source`` is not used.

    Args:
        path: The YAML file.
        fresh: Begin a new run, also if there is one to go on with.
        resume: Go on with a run also if the stages have changed.
        replace: Overwrite rows of another pipeline.
        max_cost: What a run may cost; see ``Pipeline``.
        listeners: Told of all items and calls.

    Raises:
        ConfigError: The config cannot be used; names file, key, value and what is allowed.
    """
    config = load_config(path)
    return pipeline_of(config, fresh=fresh, resume=resume, replace=replace, max_cost=max_cost, listeners=listeners)


def run_config(
    path: str | os.PathLike[str],
    *,
    count: int | None = None,
    fresh: bool = False,
    resume: bool = False,
    replace: bool = False,
    max_cost: float | None = None,
    listeners: Sequence[Listener] = (),
) -> Report:
    """Run the pipeline that a config describes over its source, as ``rxpipe run`` does, and wait for it.

    ::

        report = rxpipe.run_config("questions.yaml", count=100)

    Args:
        path: The YAML file.
        count: Take this many IDs at most; by default all that the source gives.
        fresh: Begin a new run, also if there is one to go on with.
        resume: Go on with a run also if the stages have changed.
        replace: Overwrite rows of another pipeline.
        max_cost: What a run may cost; see ``Pipeline``.
        listeners: Told of all items and calls.

    Raises:
        ConfigError: The config cannot be used; names file, key, value and what is allowed.
        Exception: What ``Pipeline.run`` raises.
    """
    config = load_config(path)
    pipeline = pipeline_of(config, fresh=fresh, resume=resume, replace=replace, max_cost=max_cost, listeners=listeners)
    return pipeline.run(read_ids(config, count=count))
