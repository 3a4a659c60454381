"""The errors that operators raise, below the one root that all of rxpipe's errors share.

The whole tree, with those of the other modules, is drawn in ``rxpipe/errors.py``. All of them pickle, so that they
come back from other processes as they are.
"""

from __future__ import annotations

from typing import Any

Reduced = tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]


class RxPipeError(Exception):
    """Any error that rxpipe raises of itself."""


class StageTimeout(RxPipeError, TimeoutError):
    """A call ran longer than its stage allows.

    Attributes:
        stage: The stage's name.
        seconds: What it allowed.
    """

    def __init__(self, stage: str, seconds: float) -> None:
        super().__init__(f"{stage}: no result within {seconds:g} s")
        self.stage = stage
        self.seconds = seconds

    def __reduce__(self) -> Reduced:
        return type(self), (self.stage, self.seconds), self.__dict__


class StageStalled(RxPipeError):
    """Every slot of a stage is taken by a call that timed out and still has not returned.

    Attributes:
        stage: The stage's name.
        abandoned: How many calls have not returned.
    """

    def __init__(self, stage: str, abandoned: int) -> None:
        super().__init__(
            f"{stage}: stalled, {abandoned} calls timed out and have not returned; "
            "make the function honour rxpipe.deadline(), or raise max_abandoned"
        )
        self.stage = stage
        self.abandoned = abandoned

    def __reduce__(self) -> Reduced:
        return type(self), (self.stage, self.abandoned), self.__dict__


class CompletionTimeout(RxPipeError, TimeoutError):
    """A sequence did not complete within the time that ``ops.timeout`` allows.

    Attributes:
        seconds: What it allowed.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the sequence did not complete within {seconds:g} s")
        self.seconds = seconds

    def __reduce__(self) -> Reduced:
        return type(self), (self.seconds,), self.__dict__


class BufferOverflow(RxPipeError):
    """A source that cannot pause outran ``ops.overflow``: it must not drop an item, nor could its thread wait.

    Attributes:
        capacity: How many items wait.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(f"more than {capacity} items are waiting, and the source cannot pause")
        self.capacity = capacity

    def __reduce__(self) -> Reduced:
        return type(self), (self.capacity,), self.__dict__


class WrongResult(RxPipeError, TypeError):
    """A stage's function returned what such a stage cannot use. No other call is made: it would return the same."""

    is_final = True


class CallFailed(RxPipeError):
    """A function raised something that is not an ``Exception``; ``__cause__`` is what it raised."""


def kind_name(value: object) -> str:
    """What kind of value it is, for messages: None is None, not NoneType."""
    return "None" if value is None else type(value).__name__


def describe(error: BaseException) -> str:
    """An error in one line, ``Type: text``, even where its ``str`` raises."""
    name = type(error).__name__
    try:
        text = " ".join(str(error).split())
    except BaseException:  # noqa: BLE001 - whatever a foreign __str__ raises must not hide the error itself
        text = "(its text could not be read)"
    return f"{name}: {text}" if text else name


_LONGEST = 300  # characters of a text that is kept


def said(error: BaseException) -> str:
    """The text of an error, short and in one line; its type where it has none."""
    name, _, text = describe(error).partition(": ")
    return (text or name) if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
