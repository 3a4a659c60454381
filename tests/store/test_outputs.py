"""What comes back of what a stage returned."""

from __future__ import annotations

import enum
import json
import math
import threading
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.errors import CheckpointError
from rxpipe.store.commits.outputs import decode, encode

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec=None)), inner),
    max_leaves=20,
)


class Color(enum.StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int


def same(one: Any, other: Any) -> bool:
    """Equal and of the same types, all the way down."""
    if one.__class__ is not other.__class__:
        return False
    if one.__class__ is dict:
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if one.__class__ in (list, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.slow
@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value: Any) -> None:
    """Also with what databases do not take: NUL characters and halves of surrogate pairs."""
    text, pickled = encode(value)
    assert pickled is None
    text.encode()
    assert "\0" not in text
    assert same(decode(text, None), value)
    assert text in (json.dumps(value, ensure_ascii=False), json.dumps(value))  # records and inputs are known by it


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: "a"}, {"a": (1,)}, Point(3), Color.RED, {"c": Color.RED}, b"bytes", {1, 2}, [Point(1)], 1j, True],
)
def test_other_types_come_back_as_they_were(value: Any) -> None:
    """JSON would have made them something else."""
    assert same(decode(*encode(value)), value)


def test_what_is_no_number() -> None:
    """NaN is plain data."""
    assert math.isnan(decode(*encode(math.nan)))


def test_a_pickled_value_can_be_read_by_people() -> None:
    """There is a JSON text beside it."""
    assert json.loads(encode(Point(3))[0]) == {"x": 3}


def test_very_deep_data() -> None:
    """What is too deep for JSON is pickled, or refused with one clear error."""
    value: Any = 1
    for _ in range(300):
        value = [value]
    assert same(decode(*encode(value)), value)
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CheckpointError, match="cannot be kept"):
        encode(value)


def test_what_cannot_be_kept() -> None:
    """The error names the type, and what to do."""
    with pytest.raises(CheckpointError, match=r"of type _thread\.lock, cannot be kept: TypeError.*return plain data"):
        encode({"lock": threading.Lock()}["lock"])


def test_iterators_are_refused() -> None:
    """The next stage would use one up, and a later run find nothing; those within something are left as they are."""
    with pytest.raises(CheckpointError, match="a list of it could be kept"):
        encode(map(str, [1, 2]))
    value = {"rest": iter([1, 2])}
    encode(value)
    assert list(value["rest"]) == [1, 2]


def test_numbers_that_are_too_long_for_json() -> None:
    """They are pickled."""
    for big in (10**5000, [10**5000]):
        assert decode(*encode(big)) == big


def test_a_structure_that_shares_its_parts() -> None:
    """It has more parts than could be looked through, and as a pickle is small."""
    value: Any = []
    for _ in range(40):
        value = [value, value]
    _, pickled = encode(value)
    assert pickled is not None
    assert len(pickled) < 10_000


class Hostile:
    def __reduce__(self) -> str:
        raise SystemExit


def test_a_value_that_raises_anything() -> None:
    """It fails its item, not the run."""
    with pytest.raises(CheckpointError, match="SystemExit"):
        encode(Hostile())


def test_what_cannot_be_read() -> None:
    """As when a class is gone."""
    text, pickled = encode(Point(1))
    assert pickled is not None
    with pytest.raises(CheckpointError, match="cannot be read"):
        decode(text, pickled[:8])
