"""``Listener``: receives the events of items and runs, for submissions, events and traces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from rxpipe.operators.core.clock import guarded
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.errors import describe
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.stage import Stage
from rxpipe.pipeline.views import ItemView, RunView

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Listener:
    """Receives the events of items and runs. Override the methods that you need in a subclass.

    The calls for one item come in order, one at a time. The calls for different items come from several threads at
    once. Be quick, since the calls of stages wait for the listener. A listener that raises anything receives no more
    events of this run. The error is logged, and the run goes on.
    """

    def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Returns the function to call in place of ``call``, the stage's function.

        Called for each stage before a run starts.
        """
        return call

    def run_started(self, run: RunView) -> None:
        """The run starts: no ID is taken yet. Called on the starting thread. ``run.finished`` resolves at the end."""

    def draining(self, run: RunView) -> None:
        """The open pipeline takes no more IDs, and finishes its items."""

    def stalled(self, run: RunView, reason: str) -> None:
        """``health()`` found the open pipeline stalled. The previous check had not."""

    def taken(self, item: ItemView) -> None:
        """An ID was taken from the source; or a stage made a child, whose ``parent`` is set."""

    def call_started(self, item: ItemView, stage: str) -> None:
        """A stage's function is about to be called with the item."""

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        """The call has returned or failed.

        A call that the end of the run cut off has no such event. It ends with its item.

        Args:
            item: The item.
            stage: The stage's name.
            error: The error of a failed call; None if the call returned.
            again: True if another attempt follows.
        """

    def used(self, item: ItemView, stage: str, attempt: int, usage: Usage) -> None:
        """Attempt ``attempt`` of this item in the stage has used ``usage``.

        Called when the attempt is about to end, or is cut off. An attempt that timed out on a thread may report later,
        when the thread returns.
        """

    def cached(self, item: ItemView, stage: str, saved: Usage) -> None:
        """The item got the result of an earlier call of the stage, so no call is made. That call had used ``saved``."""

    def sent_back(self, item: ItemView, stage: str, to: str) -> None:
        """The stage's function has sent the item back to the stage ``to``. The call has ended."""

    def left(self, item: ItemView) -> None:
        """The item has left the stages, for the sink."""

    def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
        """The item has ended; ``outcome.status`` says how."""


class Listeners(Listener):
    """All listeners of one run, behind one object. A listener that raises is logged and removed; the others go on.

    Attributes:
        told: The listeners that were not removed. Most runs have none, so callers check this before they report a call.
    """

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self.told = tuple(listeners)
        self._dropping = threading.Lock()

    def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Returns the function, wrapped by each listener."""
        made = [call]
        self._each(self.told, lambda one: made.append(_checked(one.wrapped(stage, made[-1]))))
        return made[-1]

    def run_started(self, run: RunView) -> None:
        """See ``Listener``, as for all methods below."""
        if self.told:
            self._each(self.told, lambda one: one.run_started(run))

    def draining(self, run: RunView) -> None:  # noqa: D102 - see Listener
        if self.told:
            self._each(self.told, lambda one: one.draining(run))

    def stalled(self, run: RunView, reason: str) -> None:  # noqa: D102 - see Listener
        if self.told:
            self._each(self.told, lambda one: one.stalled(run, reason))

    def taken(self, item: ItemView) -> None:  # noqa: D102 - see Listener
        if self.told:
            self._each(self.told, lambda one: one.taken(item))

    def call_started(self, item: ItemView, stage: str) -> None:  # noqa: D102 - see Listener
        if self.told:
            self._each(self.told, lambda one: one.call_started(item, stage))

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:  # noqa: D102
        if self.told:
            self._each(self.told, lambda one: one.call_ended(item, stage, error, again=again))

    def used(self, item: ItemView, stage: str, attempt: int, usage: Usage) -> None:  # noqa: D102 - see Listener
        if self.told:
            self._each(self.told, lambda one: one.used(item, stage, attempt, usage))

    def cached(self, item: ItemView, stage: str, saved: Usage) -> None:  # noqa: D102 - see Listener
        if self.told:
            self._each(self.told, lambda one: one.cached(item, stage, saved))

    def sent_back(self, item: ItemView, stage: str, to: str) -> None:  # noqa: D102 - see Listener
        if self.told:
            self._each(self.told, lambda one: one.sent_back(item, stage, to))

    def left(self, item: ItemView) -> None:  # noqa: D102 - see Listener
        if self.told:
            self._each(self.told, lambda one: one.left(item))

    def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:  # noqa: D102 - see Listener
        if self.told:
            self._each(self.told, lambda one: one.ended(item, outcome))

    def _each(self, told: tuple[Listener, ...], tell: Callable[[Listener], object]) -> None:
        for listener in told:
            try:
                tell(listener)
            except BaseException as error:  # noqa: BLE001 - whatever it is, the run must not notice
                self._drop(listener, error)

    def _drop(self, listener: Listener, error: BaseException) -> None:
        with self._dropping:
            self.told = tuple(one for one in self.told if one is not listener)
        name = type(listener).__name__
        guarded(lambda: _log.error("listener failed, and is told no more", listener=name, error=describe(error)))


def _checked(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    if not callable(call):
        raise TypeError(f"wrapped() must return a function, not {call!r}")
    return call
