"""The values of options of several commands: counts, costs and durations, as people write them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

ConfigPath: TypeAlias = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The pipeline's YAML file.", show_default=False)
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Use this value for a key of the config, such as stages.answering.concurrency=14. Repeat the option "
        "for other keys.",
    ),
]

_NUMBER = r"([0-9.]+)"
# The look-aheads keep 500ms from being 500 minutes, or 50 s and 0 ms.
_PARTS = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m(?:in)?(?!s))?(?:{_NUMBER}(?:s|(?![0-9.m])))?(?:{_NUMBER}ms)?")
_UNITS = 3600.0, 60.0, 1.0, 0.001


def count_of(given: str | int) -> int:
    """Returns a whole number, 1 or more."""
    if not (str(given).isdecimal() and int(given) >= 1):
        raise typer.BadParameter(f"{given!r}; allowed: a whole number, 1 or more")
    return int(given)


def cost_of(given: str | float) -> float:
    """Returns a number above 0."""
    try:
        cost = float(given)
    except ValueError:
        cost = 0.0
    if not 0 < cost < float("inf"):
        raise typer.BadParameter(f"{given!r}; allowed: a number above 0, like 2.50")
    return cost


def duration_of(given: str | float) -> float:
    """Returns the seconds of ``2h``, ``1h30m``, ``90s``, ``500ms``, or a number of seconds."""
    found = _PARTS.fullmatch(str(given).replace(" ", ""))
    try:
        parts = [float(part or 0) for part in found.groups()] if found else [0.0]
    except ValueError:
        parts = [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, _UNITS, strict=False))
    if not seconds > 0:
        raise typer.BadParameter(f"{given!r}; allowed: a duration above 0, like 2h, 1h30m, 90s or 500ms")
    return seconds
