"""An item on its way: the envelope in which an ID's value travels through the stages of a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Literal

from rxpipe.errors import ItemCancelled, StopRun
from rxpipe.operators.stages.settings import Call
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.ports import Claim, ClaimedOutcome


class Item:
    """One ID on its way, and what has become of it so far; in the hands of one stage at a time.

    Attributes:
        settled: Whether it has failed, or the last stage has returned: no call is made for it any more.
        arrived: Whether it has reached the end of the stages.
        claim: What a run store knows it by; None without one.
        finished: How many stages it has been through.
        context: That of whoever submitted it; where it came from a source, of whoever started the run.
        in_call: Whether a stage's function is at work on it.
        call: The call that it waits for, or that is made with it. A stage sets this before it asks whether the item is
            cancelled; whoever cancels the item sets that before looking here. So one of the two sees the other.
        is_cancelled: Whether nobody wants it any more.
    """

    __slots__ = (
        "arrived",
        "attempts",
        "call",
        "claim",
        "context",
        "error",
        "finished",
        "id",
        "in_call",
        "is_cancelled",
        "settled",
        "stage",
        "taken_at",
        "value",
    )

    def __init__(self, taken: int | str | Claim, taken_at: float) -> None:
        self.claim: Claim | None = None
        self.error: BaseException | None = None
        self.attempts = self.finished = 0
        self.value: Any = taken
        if isinstance(taken, Claim):
            self.claim, self.id, self.value = taken, taken.id, taken.value
            self.error, self.attempts, self.finished = taken.error, taken.attempts, taken.stage
        else:
            self.id = taken
        self.settled = self.error is not None
        self.stage: str | None = None
        self.arrived = False
        self.taken_at = taken_at
        self.context: Context | None = None
        self.in_call = False
        self.call: Call | None = None
        self.is_cancelled = False

    def cancel(self) -> None:
        """Let it end as cancelled, unless it leaves the stages first; from any thread."""
        self.is_cancelled = True
        if self.call is not None:
            self.call.give_up(ItemCancelled())

    @property
    def given_back(self) -> bool:
        """Whether it goes no further in this run, though it has not failed."""
        return isinstance(self.error, StopRun)

    def outcome(self, now: float) -> Outcome[Any]:
        """How it left the stages; ``written`` is provisional until the sink confirms it."""
        if isinstance(self.error, ItemCancelled):
            return self._outcome("cancelled", now)
        return self._outcome("written" if self.error is None else "failed", now)

    def cancelled(self, now: float) -> Outcome[Any]:
        """How it ended, when the run was stopped before it arrived."""
        return self._outcome("cancelled", now)

    def _outcome(self, status: Literal["written", "failed", "cancelled"], now: float) -> Outcome[Any]:
        make: Callable[..., Outcome[Any]]
        make = Outcome if self.claim is None else partial(ClaimedOutcome, claim=self.claim)
        return make(
            id=self.id,
            status=status,
            value=self.value,
            error=self.error,
            stage=self.stage,
            attempts=self.attempts,
            seconds=now - self.taken_at,
        )
