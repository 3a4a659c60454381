"""The names, things and units in questions, and random numbers that are the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations
from random import Random
from typing import TypeVar

T = TypeVar("T")

_NAMES = (
    "Aisha", "Ben", "Carmen", "David", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kavya", "Liam",
    "Mei", "Noah", "Olga", "Pedro", "Rosa", "Sven", "Tara", "Umut", "Vera", "Wei", "Yusuf", "Zoe",
)  # fmt: skip
_UNITS: dict[str, dict[str, Fraction | int]] = {
    "length": {
        "millimetre": Fraction(1, 1000),
        "centimetre": Fraction(1, 100),
        "metre": 1,
        "kilometre": 1000,
    },
    "mass": {"gram": 1, "kilogram": 1000, "tonne": 1_000_000},
    "volume": {"millilitre": 1, "litre": 1000},
    "time": {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800},
}

UNITS = {unit: (measure, Fraction(size)) for measure, units in _UNITS.items() for unit, size in units.items()}
"""Every unit, in the singular: the measure, and the unit's size in the base unit of that measure."""

# A row fills several slots at once if their words depend on each other: two people differ, and units convert.
POOLS: dict[tuple[str, ...], Sequence[tuple[str, ...]]] = {
    ("who", "friend"): tuple(permutations(_NAMES, 2)),
    ("item",): tuple(
        (noun,)
        for noun in (
            "apple", "badge", "bead", "book", "brush", "button", "card", "coin", "lemon", "marble", "peach",
            "pencil", "plum", "ribbon", "shell", "stamp", "sticker", "toy",
        )
    ),
    ("box",): (("bag",), ("basket",), ("box",), ("crate",), ("jar",), ("packet",), ("tin",)),
    ("dish",): (("cake",), ("melon",), ("pie",), ("pizza",)),
    ("garment",): (("coat",), ("dress",), ("hat",), ("jacket",), ("scarf",), ("shirt",)),
    ("vehicle",): (("bus",), ("car",), ("ferry",), ("lorry",), ("train",), ("van",)),
    ("plot",): (("field",), ("garden",), ("park",), ("playground",), ("yard",)),
    ("large", "small"): (
        ("kilometre", "metre"), ("metre", "centimetre"), ("centimetre", "millimetre"), ("kilogram", "gram"),
        ("tonne", "kilogram"), ("litre", "millilitre"), ("hour", "minute"), ("minute", "second"),
        ("day", "hour"), ("week", "day"),
    ),
}  # fmt: skip
"""Slots of a wording, and the rows of words that can fill them. Nouns are in the singular."""


def plural(noun: str) -> str:
    """Returns the plural of a regular noun: apples, boxes, peaches."""
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


class Dice:
    """Random numbers from a seed, the same in every version and process and on every platform.

    The `random` module promises only that seeding with a string and `Random.random` stay as they are. So this class
    uses nothing else, neither `Random.choice` nor `Random.randint`.
    """

    __slots__ = ("_random",)

    def __init__(self, seed: str) -> None:
        self._random = Random(seed).random

    def __call__(self, low: int, high: int) -> int:
        """Draw a whole number from `low` to `high`, both included."""
        return low + int(self._random() * (high - low + 1))

    def pick(self, rows: Sequence[T]) -> T:
        """Draw one of the rows."""
        return rows[int(self._random() * len(rows))]
