"""Checks that stages fit together, as far as annotations and the declarations of shipped functions say."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, get_args

from rxpipe.config.arguments import hints_of
from rxpipe.config.field_fits import check_columns, check_stage_fields
from rxpipe.config.imports import resolve
from rxpipe.config.model import Config, StageSettings
from rxpipe.errors import ConfigError
from rxpipe.extras import install
from rxpipe.questions.hints import gives, misfit, passed_on
from rxpipe.questions.inputs import declared


def check_fits(config: Config) -> None:
    """Check that each stage accepts the result of the stage before, and can send items back where it wants to.

    Raises:
        ConfigError: One of these:

            - A shipped stage cannot take the annotated result of the stage before; the first stage cannot take the ID.
            - A stage sends items back to a stage that they have not been through themselves.
            - A ``when``, a ``key`` or a column names a field that annotated values do not have.
            - The extra that a stage needs is missing.
    """
    if "stages" not in config.model_fields_set and config.source.gives_records:
        text = "missing; the source gives records, and the question bank, which is there by default, takes IDs"
        raise ConfigError(f"{config.where('stages')}: {text}; needed: such as [{{name: work, call: 'my_stages:work'}}]")
    came_from = "it is the first stage and gets the ID"
    hint = _of_source(config)
    stages = config.resolved_stages()
    for index, stage in enumerate(stages):
        where = config.where(f"{stage.key}.call")
        if not stage.collect:
            check_stage_fields(config, stage, hint)
        call = resolve(stage.call, config.folder, where=where)
        module, extra = declared(call).module, declared(call).extra
        if module is not None and find_spec(module) is None:
            raise ConfigError(f"{where}: {stage.call} needs the extra {extra}: {install(extra)}")
        reason = misfit(list if stage.batch else hint, call, stage.options, collect=stage.collect)
        if reason is not None:
            by = "" if stage.collect or declared(call).children else f": {came_from}"
            raise ConfigError(f"{where}: {stage.call} {reason}{by}")
        back_to = declared(call).back_to
        to = None if back_to is None else back_to(stage.options)
        if to is not None and (wrong := _no_way_back(stages, index, to)):
            raise ConfigError(f"{where}: {stage.call} cannot send items back to {to!r}: {wrong}")
        returned = gives(call, hints_of(call), stage.options)
        many = bool(stage.expand or stage.batch)
        goes_on = passed_on(returned, hint, many=many, optional=stage.when is not None)
        if goes_on is None:
            key = "expand" if stage.expand else "batch"
            text = f"a stage with {key} gives many values, but {stage.call} is annotated to return {_shown(returned)}"
            raise ConfigError(f"{where}: {text}; allowed: {_MANY[key]}")
        came_from, hint = f"that is what {stage.call} is annotated to return", goes_on
    check_columns(config, hint)


_MANY = {
    "expand": "a list, an iterator or an async iterator of values",
    "batch": "a list with one result for each value",
}


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def _of_source(config: Config) -> Any:
    """Returns the annotation of the first stage's input, as far as known: IDs, or records."""
    source = config.source
    return Any if source.id is not None or source.call is not None else int | str


def _no_way_back(stages: Sequence[StageSettings], index: int, to: str) -> str | None:
    """Returns why items cannot go back from a stage to another stage; None if they can."""
    names = [stage.name for stage in stages[: index + 1]]
    if to not in names:
        return f"there is no stage of that name before it; there are {', '.join(names[:-1]) or 'none'}"
    here, there = _parents(stages, index), _parents(stages, names.index(to))
    if here == there:
        return None
    made_by = [stages[one].name for one in (*there, *here) if one not in there or one not in here]
    return f"{made_by[0]} makes many items of each in between; with unclear: drop it drops them instead"


def _parents(stages: Sequence[StageSettings], index: int) -> list[int]:
    """Returns the stages that have made the items of a stage, without stages whose children are collected again."""
    found: list[int] = []
    for number, stage in enumerate(stages[: index + 1]):
        if stage.collect and found:
            found.pop()
        if stage.expand and number < index:
            found.append(number)
    return found
