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
    """

    __slots__ = (
        "_call",
        "_is_cancelled",
        "arrived",
        "attempts",
        "claim",
        "context",
        "error",
        "finished",
        "id",
        "in_call",
        "settled",
        "stage",
        "taken_at",
        "value",
    )

    def __init__(self, taken: int | str | Claim, taken_at: float) -> None:
        self.claim: Claim | None = None
        self.error: BaseException | None = None
        self.attempts = self.finished = 0
        if isinstance(taken, Claim):
            self.claim, self.id, self.value = taken, taken.id, taken.value
            self.error, self.attempts, self.finished = taken.error, taken.attempts, taken.stage
        else:
            self.id = taken
            self.value: Any = taken
        self.settled = self.error is not None
        self.stage: str | None = None
        self.arrived = False
        self.taken_at = taken_at
        self.context: Context | None = None
        self.in_call = False
        self._call: Call | None = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """Let it end as cancelled, unless it leaves the stages first; from any thread."""
        self._is_cancelled = True
        if self._call is not None:
            self._call.give_up(ItemCancelled())

    def wait(self, call: Call) -> None:
        """It waits for a call, which is told if nobody wants that any more."""
        self._call = call  # first, as below
        if self._is_cancelled:
            call.give_up(ItemCancelled())

    def enter(self, stage: str, call: Call) -> None:
        """A call is about to be made with it.

        Raises:
            ItemCancelled: It is cancelled.
        """
        self.stage = stage
        self._call = call  # first: whoever cancels it now sees the call, or this sees that it is cancelled
        if self._is_cancelled:
            raise ItemCancelled

    @property
    def given_back(self) -> bool:
        """Whether it goes no further in this run, though it has not failed."""
        return isinstance(self.error, StopRun)

    def outcome(self, now: float) -> Outcome[Any]:
        """How it ended, at the end of the stages: it is called written, for its sink to make that true."""
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
