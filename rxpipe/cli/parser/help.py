"""How ``--help`` shows options: typer takes each flag for an option with a value, ``<bool>``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose flags take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options, ``--help`` too."""
        return _without_values(super().get_params(ctx))


class Group(TyperGroup):
    """The program, likewise."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options, ``--help`` and those of completion too."""
        return _without_values(super().get_params(ctx))


def _without_values(params: list[Any]) -> list[Any]:
    for one in params:
        if getattr(one, "is_flag", False) and one.metavar is None:
            one.metavar = ""
    return params
