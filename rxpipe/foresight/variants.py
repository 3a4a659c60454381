"""Makes a pipeline with other settings, by the paths that a config uses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

from rxpipe.errors import ConfigError
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.stage import Stage

_STAGES = "stages."
_OF_STAGE = tuple(one.name for one in fields(Stage) if one.name not in ("name", "call"))


def with_settings(pipeline: Pipeline[Any, Any], settings: Mapping[str, Any]) -> Pipeline[Any, Any]:
    """Returns a copy of a pipeline with some settings changed. For simulations only: the copy has no store.

    Args:
        pipeline: The pipeline to copy. It does not change.
        settings: New values by path: ``concurrency`` or ``strategy`` of the pipeline, or ``stages.NAME.OPTION`` of a
            stage.

    Raises:
        ConfigError: The stage or option does not exist, or does not allow the value.
    """
    stages = {stage.name: replace(stage, cache=False) for stage in pipeline.stages}
    options: dict[str, Any] = {"concurrency": pipeline.concurrency, "strategy": pipeline.strategy}
    for path, value in settings.items():
        with _told(path):
            if path in options:
                options[path] = value
            else:
                name, option = _stage_and_option(path, stages)
                stages[name] = replace(stages[name], **{option: value})
    make: Callable[..., Pipeline[Any, Any]] = Pipeline
    with _told(" and ".join(settings)):
        return make(*stages.values(), **options, sink=pipeline.sink, max_cost=pipeline.max_cost, name="simulation")


@contextmanager
def _told(path: str) -> Generator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _stage_and_option(path: str, stages: Mapping[str, Stage[Any, Any]]) -> tuple[str, str]:
    rest = path.removeprefix(_STAGES)
    name, _, option = rest.rpartition(".")
    if rest == path or not name:
        raise ConfigError(f"there is no setting {path!r}; there are concurrency, strategy and stages.NAME.OPTION")
    if name not in stages:
        raise ConfigError(f"{path}: there is no stage {name!r}; the stages are {', '.join(stages)}")
    if option not in _OF_STAGE:
        raise ConfigError(f"{path}: a stage has no option {option!r}; it has {', '.join(_OF_STAGE)}")
    return name, option
