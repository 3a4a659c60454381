"""``Identity``: what tells a pipeline from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rxpipe.identity.names import DefaultName
from rxpipe.identity.signature import StageSignature, changes, edited


@dataclass(frozen=True, slots=True)
class Identity:
    """A pipeline's name and stages.

    A name that the user gave is trusted. Two files of the same name in different folders have the same default name,
    and are often copies of one pipeline on two machines: they are the same pipeline if their stages are the same.

    Attributes:
        name: Its name.
        stages: Its stages.
    """

    name: str
    stages: tuple[StageSignature, ...]

    @property
    def origin(self) -> str:
        """The path that a default name comes from; empty for a name that the user gave."""
        return self.name.origin if isinstance(self.name, DefaultName) else ""

    @property
    def collects(self) -> bool:
        """Whether a stage collects children."""
        return any(collector is not None for collector in self.collectors.values())

    @property
    def collectors(self) -> dict[int, int | None]:
        """The stages that expand items, by their indexes, and those that collect the children."""
        found: dict[int, int | None] = {}
        for index, stage in enumerate(self.stages):
            if "collect" in stage.shape and (open_ones := [made for made, by in found.items() if by is None]):
                found[open_ones[-1]] = index
            if "expand" in stage.shape:
                found[index] = None
        return found

    @property
    def makers(self) -> dict[int, int]:
        """The stages that collect children, by their indexes, and those that make these."""
        return {collector: maker for maker, collector in self.collectors.items() if collector is not None}

    @property
    def is_given(self) -> bool:
        """Whether the user gave the name."""
        return not isinstance(self.name, DefaultName)

    def is_other(self, name: str, origin: str | None, stages: Sequence[StageSignature]) -> bool:
        """Whether what was kept is another pipeline's.

        Args:
            name: The name that it was kept by.
            origin: The origin of that name; None if a version of rxpipe kept it that knew no names of pipelines.
            stages: The stages.
        """
        if name != self.name:
            return True
        if origin is not None and self.origin in ("", origin):
            return False
        return bool(changes(stages, self.stages) or edited(stages, self.stages))

    def __str__(self) -> str:
        """The name, and where it comes from."""
        return told(self.name, self.origin)


def told(name: str, origin: str | None) -> str:
    """A pipeline in words."""
    return f"pipeline {name} ({origin})" if origin else f"pipeline {name}"
