"""Decisions of a stage's function: drop the item, or send it back."""

from __future__ import annotations

from typing import Any

from rxpipe.errors import StopRun
from rxpipe.operators.core.running_call import running_call
from rxpipe.operators.stages.settings import Decision


class Drop(Decision):
    """Return or raise this in a stage's function to end the item as ``dropped``.

    ::

        def check(question):
            return question if question["text"] else Drop("no text")

    A dropped item skips the later stages. It is no failure: there is no further call and no dead letter. It has a row
    only if ``DatabaseSink(rows=...)`` asks for one. Reports count drops by stage and reason.

    Attributes:
        reason: The reason in a few words. Use few different reasons, since reports count each of them.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class SendBack(Decision):
    """Return or raise this in a stage's function to send the item back to an earlier stage.

    ::

        def grade(answered):
            if answered["score"] < 0.5:
                raise SendBack("generation", "the question is ambiguous")
            return answered

    The earlier stage's function gets the same value as before, and ``rxpipe.feedback()`` returns the feedback.

    - An item goes back at most ``max_rounds`` times, an option of the stage that sends it. After that the item fails
      with this error, or is dropped.
    - An item that already has children cannot go back: it fails.

    Attributes:
        stage: The name of the stage to go back to: an earlier stage, or the stage that raises this. Another name stops
            the run.
        feedback: The feedback for the function of that stage. With a store, it must be plain data or pickle.
        or_drop: True to drop the item, instead of failing it, after ``max_rounds``.
    """

    def __init__(self, stage: str, feedback: Any = None, *, or_drop: bool = False) -> None:
        super().__init__(stage, feedback)
        self.stage = stage
        self.feedback = feedback
        self.or_drop = or_drop
        self.max_rounds: int | None = None  # set when the item has gone back too often

    def __str__(self) -> str:
        """Returns the target and the feedback, as an item's error."""
        told = "" if self.feedback is None else f": {self.feedback}"
        most = "" if self.max_rounds is None else f" (max_rounds is {self.max_rounds})"
        return f"sent back to {self.stage} too often{most}{told}"


def feedback() -> Any:
    """Returns the feedback that a later stage has sent the item back with.

    ::

        async def generate(question_id):
            hint = rxpipe.feedback()  # None in the first round

    Returns:
        The feedback of the latest ``SendBack``, in the stage that the item went back to. In a call for a batch: a list
        with the feedback of each item. None in the first round, in other stages, outside a call, and in another
        process.
    """
    call = _call()
    if (members := getattr(call, "expected", None)) is not None:
        return [getattr(member.item, "feedback", None) for member in members]
    return getattr(_item(), "feedback", None)


def item_id() -> int | str | None:
    """Returns the ID of the running call's item; None outside a call, in a batch, and in another process."""
    return getattr(_item(), "id", None)


def item_ids() -> list[int | str]:
    """Returns the IDs of the running call's items; several in a batch, none outside a call."""
    call = _call()
    members = getattr(call, "expected", None) or [call]
    items: list[Any] = [getattr(member, "item", None) for member in members]
    return [one.id for one in items if hasattr(one, "id")]


def child_id(number: int) -> str | None:
    """Returns the ID of the item's child with this number, counted from 0; None where ``item_id`` returns None."""
    item = _item()
    return None if getattr(item, "id", None) is None else item.child_id(item.born + number)


def source_record() -> Any:
    """Returns the source's record of the running item; None without a record, and where ``item_id`` returns None.

    Raises:
        StopRun: The stage has ``cache``, and is not the first stage. Its cached results depend on its value only, and
            the value does not contain the record.
    """
    item = _item()
    if getattr(item, "lookup", None) is not None and item.finished:
        raise StopRun("a stage with cache can read the record only if it is the first: its results go by its value")
    return getattr(item, "record", None)


def _item() -> Any:
    return getattr(_call(), "item", None)


def _call() -> Any:
    running: Any = running_call.get()
    return getattr(running, "call", running)  # of a worker: its present call
