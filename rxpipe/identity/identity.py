"""``Identity``: distinguishes a pipeline from others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rxpipe.identity.names import DefaultName
from rxpipe.identity.signature import StageSignature, changes, edited


@dataclass(frozen=True, slots=True)
class Identity:
    """A pipeline's name and stages.

    A name from the user is trusted. Default names are not: two files of the same name in different folders have the
    same default name. They are often copies of one pipeline on two machines. They count as the same pipeline if their
    stages are the same.

    Attributes:
        name: The pipeline's name.
        stages: The pipeline's stages.
    """

    name: str
    stages: tuple[StageSignature, ...]

    @property
    def origin(self) -> str:
        """The path of the file behind a default name; empty for a name from the user."""
        return self.name.origin if isinstance(self.name, DefaultName) else ""

    @property
    def collects(self) -> bool:
        """True if a stage collects children."""
        return any(collector is not None for collector in self.collectors.values())

    @property
    def collectors(self) -> dict[int, int | None]:
        """The stages that expand items, by index, each with the stage that collects its children, or None."""
        found: dict[int, int | None] = {}
        for index, stage in enumerate(self.stages):
            if "collect" in stage.shape and (open_ones := [made for made, by in found.items() if by is None]):
                found[open_ones[-1]] = index
            if "expand" in stage.shape:
                found[index] = None
        return found

    @property
    def makers(self) -> dict[int, int]:
        """The stages that collect children, by index, each with the stage that makes them."""
        return {collector: maker for maker, collector in self.collectors.items() if collector is not None}

    @property
    def is_given(self) -> bool:
        """True if the user gave the name."""
        return not isinstance(self.name, DefaultName)

    def is_other(self, name: str, origin: str | None, stages: Sequence[StageSignature]) -> bool:
        """Returns True if stored data belong to another pipeline.

        Args:
            name: The name in the data.
            origin: The origin of that name; None in data of old versions of rxpipe, without names of pipelines.
            stages: The stages in the data.
        """
        if name != self.name:
            return True
        if origin is not None and self.origin in ("", origin):
            return False
        return bool(changes(stages, self.stages) or edited(stages, self.stages))

    def __str__(self) -> str:
        """Returns the name and its origin."""
        return told(self.name, self.origin)


def told(name: str, origin: str | None) -> str:
    """Returns a pipeline's name and origin in words."""
    return f"pipeline {name} ({origin})" if origin else f"pipeline {name}"
