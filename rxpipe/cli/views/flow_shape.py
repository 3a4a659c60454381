"""Describes what the stages of a config do with items, besides calling a function with each."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from rxpipe.config import Config, StageSettings
from rxpipe.config.arguments import hints_of
from rxpipe.config.imports import resolve
from rxpipe.pipeline.decisions import Drop, SendBack
from rxpipe.questions.inputs import declared
from rxpipe.screen.texts import number, plural

_MOST_ROUNDS = 3  # the default of a stage


def flow_lines(config: Config) -> list[str]:
    """Returns a line for each stage with a special flow: ``splitting: expands an item into many``."""
    expanding: list[str] = []
    lines: list[str] = []
    for stage in config.resolved_stages():
        collected = expanding.pop() if stage.collect and expanding else ""
        if parts := list(_parts(config, stage, collected)):
            lines.append(f"{stage.name}: {'; '.join(parts)}")
        if stage.expand:
            expanding.append(stage.name)
    return lines


def _parts(config: Config, stage: StageSettings, collected: str) -> Iterator[str]:
    call = resolve(stage.call, config.folder)
    if stage.when is not None:
        yield f"only when {_condition(stage.when)}, others pass"
    if stage.collect:
        yield f"collects the children that {collected} made"
    if stage.expand:
        yield "expands an item into many"
    if stage.batch is not None:
        rate = "" if stage.batch.item_rate is None else f", {number(stage.batch.item_rate.limit)} in "
        rate += "" if stage.batch.item_rate is None else f"{stage.batch.item_rate.seconds:g} s"
        most = plural(stage.batch.max_items, "item")
        yield f"batch of up to {most}, which wait {stage.batch.max_seconds:g} s at most{rate}"
    if stage.order_key is not None:
        yield f"one call at a time for each key, {stage.order_key}"
    if stage.cache:
        yield "cache: results of earlier runs are used again"
    hint = hints_of(call).get("return")
    if _may(hint, Drop):
        yield "may drop items"
    back_to = declared(call).back_to
    to = None if back_to is None else back_to(stage.options)
    if to is not None or stage.max_rounds is not None or _may(hint, SendBack):
        rounds = _MOST_ROUNDS if stage.max_rounds is None else stage.max_rounds
        yield f"may send items back{'' if to is None else f' to {to}'}, {plural(rounds, 'time')} at most"


def _condition(when: str | Mapping[str, Any]) -> str:
    if isinstance(when, str):
        return when
    return ", ".join(f"{name} is {_either(wanted)}" for name, wanted in when.items())


def _either(wanted: Any) -> str:
    several: list[Any] = [*wanted] if isinstance(wanted, list) else [wanted]
    return " or ".join("null" if one is None else str(one) for one in several)


def _may(hint: Any, decision: type) -> bool:
    """Returns True if an annotation says that a function may return a decision."""
    return hint is decision or any(_may(one, decision) for one in typing.get_args(hint))
