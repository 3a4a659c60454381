"""The form of options in ``--help``. typer would show each flag as an option with a value, ``<bool>``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose flags take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Returns the command's arguments and options, including ``--help``."""
        return _without_values(super().get_params(ctx))


class Group(TyperGroup):
    """The program, whose flags take no value, too."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Returns the program's options, including ``--help`` and those of completion."""
        return _without_values(super().get_params(ctx))


def _without_values(params: list[Any]) -> list[Any]:
    for one in params:
        if getattr(one, "is_flag", False) and one.metavar is None:
            one.metavar = ""
    return params
