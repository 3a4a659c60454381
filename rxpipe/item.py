"""An item on its way: the envelope in which an ID's value travels through the stages of a pipeline."""

from __future__ import annotations

from typing import Any, Literal

from rxpipe.operators.stage_settings import Failure
from rxpipe.outcome import Outcome


class Item:
    """One ID on its way, and what has become of it so far; in the hands of one stage at a time.

    Attributes:
        settled: Whether it has failed, or the last stage has returned: no call is made for it any more.
        arrived: Whether it has reached the end of the stages.
    """

    __slots__ = ("arrived", "attempts", "error", "id", "settled", "stage", "taken_at", "value")

    def __init__(self, item_id: int | str, taken_at: float) -> None:
        self.id = item_id
        self.value: Any = item_id
        self.error: BaseException | None = None
        self.stage: str | None = None
        self.attempts = 0
        self.settled = False
        self.arrived = False
        self.taken_at = taken_at

    def outcome(self, now: float) -> Outcome[Any]:
        """How it ended, at the end of the stages: it is called written, for its sink to make that true."""
        return self._outcome("written" if self.error is None else "failed", now)

    def cancelled(self, now: float) -> Outcome[Any]:
        """How it ended, when the run was stopped before it arrived."""
        return self._outcome("cancelled", now)

    def _outcome(self, status: Literal["written", "failed", "cancelled"], now: float) -> Outcome[Any]:
        return Outcome(
            id=self.id,
            status=status,
            value=self.value,
            error=self.error,
            stage=self.stage,
            attempts=self.attempts,
            seconds=now - self.taken_at,
        )


class ItemEnvelope:
    """How a stage handles items: a failed one skips the call."""

    def __init__(self, stage: str, *, last: bool) -> None:
        self._stage = stage
        self._last = last

    def skip(self, item: Item) -> bool:
        """Whether it has failed."""
        return item.error is not None

    def open(self, item: Item) -> Any:
        """The function's argument; a call is about to be made with it."""
        item.stage = self._stage
        item.attempts += 1
        return item.value

    def close(self, item: Item, result: Any) -> Item:
        """The item with the function's result."""
        item.value = result
        item.stage = None
        item.settled = self._last
        return item


def fail(failure: Failure[Item]) -> Item:
    """The item of a failed call; it travels on as data."""
    item = failure.value
    item.error = failure.error
    item.settled = True
    return item
