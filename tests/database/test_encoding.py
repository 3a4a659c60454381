from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, model_serializer

from rxpipe.database.encoding import json_text, one_line
from rxpipe.database.text import clean_text


class Colour(Enum):
    RED = "red"


class Named(str, Enum):  # noqa: UP042 - the kind whose str() is not its value
    A = "a"


@dataclass
class Card:
    text: str


class Model(BaseModel):
    score: float


class Plain:
    def __init__(self) -> None:
        self.answer = 42
        self._client = object()


class Exits(BaseModel):
    @model_serializer
    def leave(self) -> dict[str, Any]:
        raise SystemExit("no")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Card("hello"), {"text": "hello"}),
        (Model(score=0.5), {"score": 0.5}),
        ({"when": datetime(2026, 1, 2, tzinfo=UTC)}, {"when": "2026-01-02T00:00:00Z"}),
        (timedelta(days=1), "P1D"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({3}, [3]),
        (Colour.RED, "red"),
        (b"\xff\x00", "_wA="),
        (ValueError("bad"), "ValueError: bad"),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (10**30, 10**30),
        ("\\u0000", "\\u0000"),
    ],
)
def test_data_of_many_types_is_encoded(value: Any, expected: Any) -> None:
    """What pydantic takes, bytes, errors and mappings become JSON."""
    assert json.loads(json_text(value)) == expected


def test_a_plain_object_is_its_public_attributes() -> None:
    """An object without a schema is not lost."""
    assert json_text({"it": Plain()}) == '{"it":{"answer":42}}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Model(score=float("nan")).score])
def test_what_is_no_number_is_null(value: float) -> None:
    """JSON has no NaN, and PostgreSQL refuses it."""
    assert json_text({"score": value}) == '{"score":null}'


def test_characters_that_databases_refuse_are_replaced_in_json() -> None:
    """A NUL and half of a surrogate pair become U+FFFD; what only looks like them stays."""
    text = json_text({"nul\x00": "a\x00\\u0000", "half": "\ud83dx", "whole": "😀"})
    assert json.loads(text) == {"nul\ufffd": "a\ufffd\\u0000", "half": "\ufffdx", "whole": "😀"}


def test_characters_that_databases_refuse_are_replaced_in_text() -> None:
    """The same in plain text, where a surrogate pair in two halves is joined."""
    assert clean_text("a\x00b\ud800c\ud83d\ude00") == "a\ufffdb\ufffdc😀"


def test_a_string_enum_is_its_value() -> None:
    """Drivers look at the exact type, and its ``str`` is its name."""
    assert type(clean_text(Named.A)) is str
    assert clean_text(Named.A) == "a"


def test_an_error_is_one_line() -> None:
    """Many drivers write theirs on several lines."""
    assert one_line(ValueError("a\n  b\x00")) == "ValueError: a b\ufffd"


def cyclic() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def cyclic_object() -> Plain:
    circle = Plain()
    circle.answer = circle  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue] - on purpose
    return circle


def deep() -> dict[str, Any]:
    root: dict[str, Any] = {}
    level = root
    for _ in range(2000):
        level["a"] = {}
        level = level["a"]
    return root


def frozen_cycle() -> list[Any]:
    circle: list[Any] = [[] for _ in range(20_000)]
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    "value",
    [object(), len, int, cyclic(), cyclic_object(), deep(), Exits(), frozen_cycle()],
    ids=["object", "function", "type", "cycle", "cycle of objects", "deep", "exits", "cycle that is large"],
)
def test_what_is_not_data_is_an_error(value: Any) -> None:
    """Whatever goes wrong, in a serializer of the user's too, is an ordinary error."""
    with pytest.raises(ValueError, match=r"."):
        json_text(value)


class Slotted:
    __slots__ = ("_secret", "answer", "unset")

    def __init__(self) -> None:
        self.answer, self._secret = 42, object()


class Further(Slotted):
    __slots__ = ("__dict__", "score")

    def __init__(self) -> None:
        super().__init__()
        self.score, self.more = 0.5, "text"


class Scalar:
    """A number as numpy has it."""

    def tolist(self) -> float:
        return 0.25


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Path("a/b"), "a/b"),
        (range(3), [0, 1, 2]),
        (range(10**40), f"range(0, {10**40})"),
        ({"a": 1}.keys(), ["a"]),
        (array("d", [0.5, float("nan")]), [0.5, None]),
        ([Scalar()], [0.25]),
        (Slotted(), {"answer": 42}),
        (Further(), {"answer": 42, "score": 0.5, "more": "text"}),
        (10**5000, "1" + "0" * 5000),
        ({"a": [-(10**5000)], "b": Card("x")}, {"a": ["-1" + "0" * 5000], "b": {"text": "x"}}),
        ({10**5000: "9" * 5000}, {"1" + "0" * 5000: "9" * 5000}),
        ({"\ud800": 1, "b": Card("\udfff")}, {"\ufffd": 1, "b": {"text": "\ufffd"}}),
        (Card({"\ud800": 1}), {"text": {"\ufffd": 1}}),  # type: ignore[arg-type] # of any type
        ({(1, "\ud800"): None, None: 1}, {'[1, "\ufffd"]': None, "null": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_data_that_pydantic_refuses(value: Any, expected: Any) -> None:
    """What pickles is data, and what no key or number of JSON can be is mended, rather than that the item fails."""
    assert json.loads(json_text(value)) == expected


def test_numbers_of_numpy() -> None:
    """Scalars and arrays, as keys too."""
    numpy = pytest.importorskip("numpy")
    value = {"one": numpy.float32(0.5), "many": numpy.arange(3), numpy.int64(7): numpy.bool_(True)}
    assert json.loads(json_text(value)) == {"one": 0.5, "many": [0, 1, 2], "7": True}


def shared(levels: int, kind: Callable[[Any], Any]) -> Any:
    value: Any = "text"
    for _ in range(levels):
        value = kind(value)
    return value


class Node:
    def __init__(self, inner: Any) -> None:
        self.left = self.right = inner


def pair(one: Any) -> list[Any]:
    return [one, one]


def mapping(one: Any) -> dict[str, Any]:
    return {"a": one, "b": (one,)}


@pytest.mark.parametrize("kind", [pair, mapping, Node])
def test_a_structure_that_shares_its_parts(kind: Callable[[Any], Any]) -> None:
    """JSON would write them again and again, until the memory is full."""
    with pytest.raises(ValueError, match="the same parts so often"):
        json_text(shared(60, kind))
    assert len(json_text(shared(8, kind))) > 256


def test_a_large_structure_that_shares_nothing() -> None:
    """Its JSON is as long as it is."""
    assert len(json.loads(json_text([[number] for number in range(30_000)]))) == 30_000
