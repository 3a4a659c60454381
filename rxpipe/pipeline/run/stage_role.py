"""What a stage is in its pipeline, beside how its calls are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRole:
    """What a stage is in its pipeline.

    Attributes:
        name: Its name.
        index: Its index.
        is_last: Whether it is the last one.
        when: Which values it is called with; None for all.
        collected_by: If it expands items: the index of the stage that collects the children, or None.
        collects: If it collects children: the index of the stage that makes them.
        max_rounds: How often an item may have been sent back, so that it may go back once more from here.
        cache: Whether results of earlier calls are used.
    """

    name: str
    index: int
    is_last: bool = True
    when: Callable[[Any], object] | None = None
    collected_by: int | None = None
    collects: int | None = None
    max_rounds: int = 3
    cache: bool = False
