"""What may be told of items while they are on their way: for submissions, events and traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rxpipe.item import Item
    from rxpipe.operators.running_call import Usage
    from rxpipe.outcome import Outcome
    from rxpipe.run import Run
    from rxpipe.stage import Stage


class Listener:
    """Told what happens to items; a subclass overrides what it wants to know.

    For one item the calls come in order, one at a time; for different items they come from several threads at once.
    They are made where calls are started and ended, so they must be quick, and must not raise.
    """

    def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What is called in place of a stage's function; asked for each run before it starts."""
        return call

    def run_started(self, run: Run) -> None:
        """A run is about to take its first ID; this is called by whoever starts it, ``run.finished`` tells its end."""

    def draining(self, run: Run) -> None:
        """An open pipeline takes no more, and finishes what it has."""

    def stalled(self, run: Run, reason: str) -> None:
        """Whoever asked for an open pipeline's health was told that it is stalled, and had not been before."""

    def taken(self, item: Item) -> None:
        """An ID was taken from the source."""

    def call_started(self, item: Item, stage: str) -> None:
        """A stage's function is about to be called with it."""

    def call_ended(self, item: Item, stage: str, error: BaseException | None, *, again: bool) -> None:
        """The call has returned, or failed; and then, whether another one follows.

        A call that was cut off by the end of its run ends with its item.
        """

    def used(self, item: Item, stage: str, attempt: int, usage: Usage) -> None:
        """A call, the stage's so many-th with this item, has used this.

        It is about to end, or is cut off; or it timed out before, and its thread has returned only now.
        """

    def left(self, item: Item) -> None:
        """It has left the stages, for the sink."""

    def ended(self, item: Item, outcome: Outcome[Any]) -> None:
        """It is written, failed or cancelled."""
