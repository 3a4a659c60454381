"""The role of a stage in its pipeline, apart from the options of its calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRole:
    """The role of a stage in its pipeline.

    Attributes:
        name: The stage's name.
        index: The stage's index.
        is_last: True for the last stage.
        when: Selects the values for calls; None for all.
        collected_by: For a stage that expands: the index of the stage that collects its children, or None.
        collects: For a stage that collects: the index of the stage that makes the children.
        max_rounds: The number of times that an item may be sent back, after which this stage may not send it back.
        cache: True to use results of earlier calls.
    """

    name: str
    index: int
    is_last: bool = True
    when: Callable[[Any], object] | None = None
    collected_by: int | None = None
    collects: int | None = None
    max_rounds: int = 3
    cache: bool = False
