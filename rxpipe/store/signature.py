"""What must be the same for checkpoints to apply: the stages' names, functions and versions, in order."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple


class StageSignature(NamedTuple):
    """A stage, as far as its checkpoints depend on it.

    Attributes:
        name: Its name.
        call: Its function, as ``module:name``.
        version: What the user says when the function is another though its name is not.
    """

    name: str
    call: str
    version: str | None

    @staticmethod
    def of(name: str, call: Any, version: str | int | None) -> StageSignature:
        """A stage's, by its function."""
        return StageSignature(name, call_name(call), None if version is None else str(version))


def call_name(call: Any) -> str:
    """A function as ``module:name``; an object that is called, by its type."""
    while isinstance(call, functools.partial):
        call = call.func
    if not hasattr(call, "__qualname__"):
        call = call.__class__
    return f"{call.__module__}:{call.__qualname__}"


def to_text(stages: Sequence[StageSignature]) -> str:
    """The stages as JSON, a list of mappings."""
    return json.dumps([stage._asdict() for stage in stages], ensure_ascii=False)


def from_text(text: str) -> tuple[StageSignature, ...]:
    """The stages of ``to_text``."""
    return tuple(StageSignature(**stage) for stage in json.loads(text))


def kept(before: Sequence[StageSignature], now: Sequence[StageSignature]) -> int:
    """How many stages from the first are the same: their checkpoints still apply."""
    count = 0
    for old, new in zip(before, now, strict=False):
        if old != new:
            break
        count += 1
    return count


def changes(before: Sequence[StageSignature], now: Sequence[StageSignature]) -> list[str]:
    """What has changed, in words; empty if nothing has."""
    found: list[str] = []
    old, new = {stage.name: stage for stage in before}, {stage.name: stage for stage in now}
    found += [f"stage {name} is gone" for name in old if name not in new]
    found += [f"stage {name} is new" for name in new if name not in old]
    for name in [name for name in old if name in new]:
        if old[name].call != new[name].call:
            found.append(f"stage {name} calls {new[name].call} instead of {old[name].call}")
        if old[name].version != new[name].version:
            versions = [f"version {one.version}" if one.version else "no version" for one in (new[name], old[name])]
            found.append(f"stage {name} has {versions[0]} instead of {versions[1]}")
    common = [name for name in old if name in new]
    if common != [name for name in new if name in old]:
        found.append(f"the stages are in another order, {', '.join(new)} instead of {', '.join(old)}")
    return found
