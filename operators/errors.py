"""The errors that operators raise, below the root of all errors of rxpipe.

``rxpipe/errors.py`` shows the whole tree, with the errors of other modules. All errors can be pickled, so they come
back from other processes unchanged.
"""

from __future__ import annotations

from typing import Any

Reduced = tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]


class RxPipeError(Exception):
    """The root of all errors that rxpipe raises itself."""


class StageTimeout(RxPipeError, TimeoutError):
    """A call ran longer than its stage allows.

    Attributes:
        stage: The stage's name.
        seconds: The stage's timeout.
    """

    def __init__(self, stage: str, seconds: float) -> None:
        super().__init__(f"{stage}: no result within {seconds:g} s")
        self.stage = stage
        self.seconds = seconds

    def __reduce__(self) -> Reduced:
        return type(self), (self.stage, self.seconds), self.__dict__


class StageStalled(RxPipeError):
    """Calls that timed out and have not returned hold all slots of a stage.

    Attributes:
        stage: The stage's name.
        abandoned: Number of calls that have not returned.
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
        seconds: The time that was allowed.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the sequence did not complete within {seconds:g} s")
        self.seconds = seconds

    def __reduce__(self) -> Reduced:
        return type(self), (self.seconds,), self.__dict__


class BufferOverflow(RxPipeError):
    """A source that cannot pause filled the buffer of ``ops.overflow``.

    Raised with the policy ``error``; with ``block`` where waiting for room might never end.

    Attributes:
        capacity: The number of items that the buffer holds.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(f"more than {capacity} items are waiting, and the source cannot pause")
        self.capacity = capacity

    def __reduce__(self) -> Reduced:
        return type(self), (self.capacity,), self.__dict__


class WrongResult(RxPipeError, TypeError):
    """A stage's function returned a value of the wrong kind for its stage.

    No further call is made, since it would do the same.
    """

    is_final = True


class CallFailed(RxPipeError):
    """A function raised something that is not an ``Exception``; ``__cause__`` is the original."""


def kind_name(value: object) -> str:
    """Returns the name of a value's type, for messages. None is "None", not "NoneType"."""
    return "None" if value is None else type(value).__name__


def describe(error: BaseException) -> str:
    """Returns an error as one line, ``Type: text``. Works even if the error's ``str`` raises."""
    name = type(error).__name__
    try:
        text = " ".join(str(error).split())
    except BaseException:  # noqa: BLE001 - whatever a foreign __str__ raises must not hide the error itself
        text = "(its text could not be read)"
    return f"{name}: {text}" if text else name


_LONGEST = 300  # characters of an error's text


def said(error: BaseException) -> str:
    """Returns the text of an error, short and in one line; the error's type if it has no text."""
    name, _, text = describe(error).partition(": ")
    return (text or name) if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
