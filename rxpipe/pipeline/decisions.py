"""What a stage's function may decide instead of returning a value: drop the item, or send it back."""

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

    A dropped item skips the later stages, and is no failure: no other call, no dead letter, and no row unless
    ``DatabaseSink(rows=...)`` asks for it. Reports count it by its stage and reason.

    Attributes:
        reason: Why, in a few words. Few different ones, as they are counted.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class SendBack(Decision):
    """Return or raise this in a stage's function to have the item go through from an earlier stage again.

    ::

        def grade(answered):
            if answered["score"] < 0.5:
                raise SendBack("generation", "the question is ambiguous")
            return answered

    The earlier stage's function gets the value that it got before; ``rxpipe.feedback()`` gives it the feedback. An
    item goes back as often as its stage's ``max_rounds`` says; then it fails with this, or is dropped. An item whose
    children are on their way, as a stage with ``expand`` has given some already, cannot go back: it fails.

    Attributes:
        stage: The name of the stage to go back to: an earlier one, or the one that raises this. Others stop the run.
        feedback: What its function is told. With a store it must be plain data, or pickle.
        or_drop: Drop the item instead of failing it when it has gone back often enough.
    """

    def __init__(self, stage: str, feedback: Any = None, *, or_drop: bool = False) -> None:
        super().__init__(stage, feedback)
        self.stage = stage
        self.feedback = feedback
        self.or_drop = or_drop
        self.max_rounds: int | None = None  # set once the item has gone back so often

    def __str__(self) -> str:
        """Where to and why, as an item's error."""
        told = "" if self.feedback is None else f": {self.feedback}"
        most = "" if self.max_rounds is None else f" (max_rounds is {self.max_rounds})"
        return f"sent back to {self.stage} too often{most}{told}"


def feedback() -> Any:
    """What a later stage has sent the item back with, for the stage that it went back to.

    ::

        async def generate(question_id):
            hint = rxpipe.feedback()  # None in the first round

    Returns:
        The feedback of the latest ``SendBack``; None in the first round, in other stages, outside of a call, and in
        another process. In a call for a batch: a list with that of each item.
    """
    call = _call()
    if (members := getattr(call, "expected", None)) is not None:
        return [getattr(member.item, "feedback", None) for member in members]
    return getattr(_item(), "feedback", None)


def item_id() -> int | str | None:
    """The ID of the item that the running call is for; None outside of a call, in a batch, and in another process."""
    return getattr(_item(), "id", None)


def item_ids() -> list[int | str]:
    """The IDs of the items that the running call is for: of a batch, all of them."""
    call = _call()
    members = getattr(call, "expected", None) or [call]
    items: list[Any] = [getattr(member, "item", None) for member in members]
    return [one.id for one in items if hasattr(one, "id")]


def child_id(number: int) -> str | None:
    """The ID that the item's child with this number will have, from 0; None where ``item_id`` is None."""
    item = _item()
    return None if getattr(item, "id", None) is None else item.child_id(item.born + number)


def source_record() -> Any:
    """The record that the source gave for the running item; None where there is none, and where ``item_id`` is None.

    Raises:
        StopRun: The stage has ``cache``, and is not the first: its results go by its value, in which no record is.
    """
    item = _item()
    if getattr(item, "lookup", None) is not None and item.finished:
        raise StopRun("a stage with cache can read the record only if it is the first: its results go by its value")
    return getattr(item, "record", None)


def _item() -> Any:
    return getattr(_call(), "item", None)


def _call() -> Any:
    running: Any = running_call.get()
    return getattr(running, "call", running)  # of a worker, its present one
