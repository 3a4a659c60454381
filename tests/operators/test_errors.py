"""The errors that operators raise: what they say and carry, and that they pickle."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

from rxpipe.operators.errors import (
    BufferOverflow,
    CallFailed,
    CompletionTimeout,
    RxPipeError,
    StageStalled,
    StageTimeout,
    describe,
)

ALL = [
    RxPipeError("any"),
    StageTimeout("grading", 2.5),
    StageStalled("grading", 3),
    CompletionTimeout(600.0),
    BufferOverflow(10),
    CallFailed("SystemExit: 1"),
]
OF_TIME = [StageTimeout("grading", 2.5), CompletionTimeout(600.0)]


def name_of(error: Exception) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", ALL, ids=name_of)
def test_there_is_one_root(error: Exception) -> None:
    """Whoever catches the root catches them all."""
    assert isinstance(error, RxPipeError)


@pytest.mark.parametrize("error", OF_TIME, ids=name_of)
def test_timeouts_are_timeout_errors(error: Exception) -> None:
    """Code that knows nothing of rxpipe takes them for what they are; and no errno is made up for them."""
    assert isinstance(error, TimeoutError)
    assert error.errno is None


@pytest.mark.parametrize("error", ALL, ids=name_of)
def test_they_pickle(error: Exception) -> None:
    """An error comes out of another process as it was: type, text, arguments and attributes."""
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), back.args, vars(back)) == (type(error), str(error), error.args, vars(error))


@pytest.mark.parametrize("error", ALL, ids=name_of)
def test_they_copy(error: Exception) -> None:
    """The same goes for a copy."""
    assert str(copy.copy(error)) == str(error)


@pytest.mark.parametrize("make", [lambda: StageTimeout("s", 1), lambda: BufferOverflow(1), lambda: CallFailed("x")])
def test_notes_pickle(make: Callable[[], Exception]) -> None:
    """What was added to an error on its way is not lost."""
    error = make()
    error.add_note("item 17")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["item 17"]


class Worse(BufferOverflow):
    """A user's own."""


def test_subclasses_pickle() -> None:
    """A subclass with the same arguments needs no code of its own."""
    back = pickle.loads(pickle.dumps(Worse(3)))
    assert isinstance(back, Worse)
    assert back.capacity == 3


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (StageTimeout("grading", 2.5), ["grading", "2.5 s"]),
        (StageStalled("grading", 3), ["grading", "3 calls", "max_abandoned"]),
        (CompletionTimeout(600.0), ["600 s"]),
        (BufferOverflow(10), ["10 items"]),
    ],
)
def test_what_they_say(error: Exception, parts: list[str]) -> None:
    """A message names the stage, the number, and what to do."""
    assert [part for part in parts if part not in str(error)] == []


class Unreadable(Exception):
    """Raises where others have their text."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (ValueError("  "), "ValueError"),
        (ValueError("two\n  lines\r\n"), "ValueError: two lines"),
        (SystemExit(3), "SystemExit: 3"),
        (Unreadable(), "Unreadable: (its text could not be read)"),
    ],
)
def test_described_in_one_line(error: BaseException, text: str) -> None:
    """Whatever an error's text is, its description is one line, and never raises."""
    assert describe(error) == text
