"""Pipelines to simulate, of any number of stages, whose calls take what is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rxpipe import Pipeline, Stage
from rxpipe.foresight.calls.distributions import Distribution, parse_distribution

from .worlds import stage


def pipeline_of(*stages: Stage, **options: Any) -> Pipeline[Any, Any]:
    """A pipeline of any number of stages."""
    make: Any = Pipeline
    pipeline: Pipeline[Any, Any] = make(*stages, name="simulated", **options)
    return pipeline


def stages_of(**slots: int) -> Pipeline[Any, Any]:
    """A stage for each name, with so many slots."""
    return pipeline_of(*(stage(name, concurrency=count) for name, count in slots.items()))


def latencies(**texts: str) -> Mapping[str, Distribution]:
    """Distributions by the names of stages."""
    return {name: parse_distribution(text) for name, text in texts.items()}
