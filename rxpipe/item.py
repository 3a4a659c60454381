"""An item on its way: the envelope in which an ID's value travels through the stages of a pipeline."""

from __future__ import annotations

from typing import Any

from rxpipe.operators.stage_settings import Failure
from rxpipe.outcome import Outcome


class Item:
    """One ID on its way, and what has become of it so far; in the hands of one stage at a time."""

    __slots__ = ("attempts", "error", "id", "stage", "taken_at", "value")

    def __init__(self, item_id: int | str, taken_at: float) -> None:
        self.id = item_id
        self.value: Any = item_id
        self.error: BaseException | None = None
        self.stage: str | None = None
        self.attempts = 0
        self.taken_at = taken_at

    def outcome(self, now: float) -> Outcome[Any]:
        """How it ended, at the end of the stages: it is called written, for its sink to make that true."""
        return Outcome(
            id=self.id,
            status="written" if self.error is None else "failed",
            value=self.value,
            error=self.error,
            stage=self.stage,
            attempts=self.attempts,
            seconds=now - self.taken_at,
        )

    def cancelled(self, now: float) -> Outcome[Any]:
        """How it ended, when the run was stopped before it arrived."""
        return Outcome(
            id=self.id,
            status="cancelled",
            value=self.value,
            error=self.error,
            stage=self.stage,
            attempts=self.attempts,
            seconds=now - self.taken_at,
        )


class ItemEnvelope:
    """How stages handle items: a failed one skips the calls that are left."""

    def skip(self, item: Item) -> bool:
        """Whether it has failed."""
        return item.error is not None

    def open(self, item: Item) -> Any:
        """The function's argument."""
        return item.value

    def close(self, item: Item, result: Any, attempts: int) -> Item:
        """The item with the function's result."""
        item.value = result
        item.attempts += attempts
        return item


def fail(failure: Failure[Item]) -> Item:
    """The item of a failed call; it travels on as data."""
    item = failure.value
    item.error = failure.error
    item.stage = failure.stage
    item.attempts += failure.attempts
    return item
