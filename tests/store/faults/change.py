"""A change of the store's source, and the tests that are to notice."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """A change of one file.

    Attributes:
        lacks: What the store lacks then.
        old: A piece of its source, which is there once.
        new: What is there instead.
        tests: The file of tests that is to notice.
        only: Which of them, as pytest's ``-k``; all by default.
    """

    lacks: str
    old: str
    new: str
    tests: str
    only: str = ""


class Mutation(NamedTuple):
    """A change, and the file."""

    file: str
    change: Change
