"""What may be told of items while they are on their way: for submissions, events and traces."""

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
    """Told what happens to items; a subclass overrides what it wants to know.

    For one item the calls come in order, one at a time; for different items they come from several threads at once.
    They are made where calls are started and ended, so they must be quick. A listener that raises anything is told no
    more in this run; the error is logged, and the run goes on.
    """

    def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """What is called in place of a stage's function; asked for each run before it starts."""
        return call

    def run_started(self, run: RunView) -> None:
        """Called before the first ID is taken, where the run is started; ``run.finished`` resolves at its end."""

    def draining(self, run: RunView) -> None:
        """An open pipeline takes no more, and finishes what it has."""

    def stalled(self, run: RunView, reason: str) -> None:
        """``health()`` found the open pipeline stalled, and had not at the check before."""

    def taken(self, item: ItemView) -> None:
        """An ID was taken from the source; or a stage has made a child, whose ``parent`` tells of what."""

    def call_started(self, item: ItemView, stage: str) -> None:
        """A stage's function is about to be called with it."""

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        """The call has returned or failed; ``again``: whether another attempt follows.

        A call that was cut off by the end of its run ends with its item.
        """

    def used(self, item: ItemView, stage: str, attempt: int, usage: Usage) -> None:
        """Attempt ``attempt`` of this item in the stage has used this.

        It is about to end, or is cut off; or it timed out before, and its thread has returned only now.
        """

    def cached(self, item: ItemView, stage: str, saved: Usage) -> None:
        """It got the result of an earlier call of the stage, which had used this; no call is made with it there."""

    def sent_back(self, item: ItemView, stage: str, to: str) -> None:
        """The stage's function has sent it back to the stage ``to``; the call has ended."""

    def left(self, item: ItemView) -> None:
        """It has left the stages, for the sink."""

    def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
        """It has ended, as ``outcome.status`` says."""


class Listeners(Listener):
    """The listeners of one run, as one. A listener that raises is logged and dropped; the others go on.

    Attributes:
        told: Those not dropped. Most runs have none, so callers check this before they report a call.
    """

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self.told = tuple(listeners)
        self._dropping = threading.Lock()

    def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The function inside what each listener puts around it."""
        made = [call]
        self._each(self.told, lambda one: made.append(_checked(one.wrapped(stage, made[-1]))))
        return made[-1]

    def run_started(self, run: RunView) -> None:
        """See ``Listener``, as for all below."""
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
