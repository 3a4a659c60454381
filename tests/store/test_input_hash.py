"""Hashes of inputs: the same in every process, and others for other values."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel

from rxpipe.store.commits.input_hash import input_hash


@dataclass(frozen=True)
class Question:
    text: str
    words: Any = ()


class Asked(BaseModel):
    text: str = ""
    topic: str = ""
    language: str = "en"


class Kind(enum.Enum):
    SUM = 1
    PRODUCT = 2


class Pair(NamedTuple):
    first: int
    second: int


DIFFERENT: list[Any] = [
    *(1, 1.0, True, "1", b"1", None, 2, -1, 10**5000, [1], [[1]], (1,), ((1,),), [1, 2], {"a": 1}, {"a": 2}, {1: "a"}),
    *({1}, {1, 2}, frozenset({1}), Kind.SUM, Kind.PRODUCT, Pair(1, 2), (1, 2), Pair(2, 1)),
    *(Question("a"), Question("b"), Question("a", ("b",)), Question("a", [("b",)]), Asked(text="a"), Asked(topic="a")),
    *(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), Question, Asked, "\ud800", "", [], {}),
    *(("ab", "c"), ("a", "bc")),
]


def test_others_for_other_values() -> None:
    """Of kinds that compare as equal, too."""
    hashes = [input_hash(value) for value in DIFFERENT]
    assert None not in hashes
    assert len(set(hashes)) == len(DIFFERENT)


def test_the_same_for_equal_values() -> None:
    """Whichever of their parts are one object."""
    text = "".join(["a", "b"])
    shared, apart = Question(text, (text, text)), Question("ab", ("".join("ab"), "".join(["a", "b"])))
    assert input_hash(shared) == input_hash(apart)
    assert input_hash({1, 2, 3}) == input_hash({3, 2, 1})


@pytest.mark.slow
def test_the_same_in_another_process() -> None:
    """Though sets have another order there: pydantic objects have one of their fields."""
    program = (
        "from store.test_input_hash import *\n"
        "print(input_hash(Asked(text='a', topic='b', language='c')), input_hash(Question('a', {'a', 'b', 'c'})))"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1


def test_what_has_none() -> None:
    """What no checkpoint can keep, and what never ends."""
    circle: list[Any] = [{1}]
    circle.append(circle)
    assert [input_hash(value) for value in (threading.Lock(), iter([1]), lambda: 1, circle)] == [None] * 4
