"""One call of a stage, as those who report on it see it; and what becomes of those that time out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Any, Protocol

import structlog
from reactivex import Observable
from reactivex.abc import DisposableBase, SchedulerBase

from ..core.clock import Clock
from ..core.gate import Gate, announcing
from ..core.running_call import Usage, running_call
from ..errors import said
from .limiter import Permit
from .retry_policy import Retry, uses_attempt
from .settings import Failure, Settings
from .times import CallTime

TICK = 1e-6  # seconds: what schedulers round times to
_MOST_NOTES = 50
_KINDS = 1_000  # types of results that are remembered at most: some are made anew for each

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Owner(Protocol):
    """Whom a call reports to: its stage. All but ``post`` is called by way of it, one at a time."""

    clock: Clock
    policy: Retry
    settings: Settings[Any, Any]
    recording: Lock  # held while a call's usage is added to, or taken

    @property
    def over(self) -> bool:
        """Whether the stage is over."""
        ...

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Have a handler called in the stage's turn; from any thread."""
        ...

    def begun(self, call: StageCall) -> None:
        """A call that had to queue begins."""
        ...

    def held(self, call: StageCall) -> None:
        """A call's time does not run until it begins anew."""
        ...

    def returned(self, call: StageCall, ok: bool, result: Any) -> None:
        """A call has returned, or raised."""
        ...

    def give_up(self, call: StageCall, error: Exception) -> None:
        """Nobody wants a call's item any more."""
        ...

    def came_back(self, call: StageCall) -> None:
        """A call that was ended early has ended in fact."""
        ...

    def inner_next(self, call: StageCall, value: Any) -> None:
        """The Observable that a call returned gave a value."""
        ...

    def inner_ended(self, call: StageCall, error: BaseException | None) -> None:
        """That Observable is over."""
        ...


class Turn:
    """An item's place in the order.

    Attributes:
        call: The item's latest call.
        results: What came of the item and waits for its turn.
        finished: Whether no more will come.
    """

    __slots__ = ("call", "finished", "results")

    def __init__(self, call: StageCall) -> None:
        self.call = call
        self.results: deque[tuple[StageCall, Any]] = deque()
        self.finished = False


class StageCall:
    """One attempt at one item. Each retry is a new object, so a late result reaches an attempt that is not ``live``.

    Runners and Observables report to it, from any thread. It hands everything to its stage's mailbox.
    """

    # What each call is asked for is set for each, as that is found sooner than what the class has.
    attempt = 1
    pushed_back = 0  # refusals of this item that used no attempt
    notes: list[object] | None = None  # that its function has left
    began = 0.0
    first_began: float | None = None  # if it has gone on since then, after a value had waited for room downstream
    spent = 0.0  # seconds until then
    queued_at: float | None = None  # None: its wait is not timed
    due_at = 0.0  # if it has to wait for its delay
    seconds = 0.0  # how long it took, once it has ended
    blocked_at: float | None = None  # since when a result has waited for room downstream
    in_flight = 0  # calls of its stage that ran when it began, or 0
    waits_since: float | None = None  # for others to share a call with
    handle: DisposableBase | None = None
    cancels = False  # whether disposing the handle ends it soon, as for a coroutine
    inner: Gate | None = None  # of the Observable that the function returned
    working = False  # whether an iterator that the function returned makes its next value
    is_ending = False  # was cancelled as the stage was disposed
    is_stuck = False  # was ended early, and goes on
    holds = False  # a slot
    permit: Permit | None = None  # that it began with
    finished = False  # no more results will come
    unsent = 0  # results that have not gone downstream
    key: Hashable = None  # of its item, where calls of a key come one after the other
    line: deque[StageCall] | None = None  # of those that wait behind the first of that key
    batch: Any = None  # the call for many items that it is one of

    def __init__(self, machine: Owner, item: Any) -> None:
        self.machine = machine
        self.item = item
        self.live = True  # until it returns, completes or times out
        self.usage: Usage | None = None
        self.weight = 0  # how many calls it stands for in the stage's times; 0: it is not among those
        self.turn: Turn | None = None  # of its item, where order is kept

    def following(self, error: BaseException) -> tuple[StageCall, float]:
        """The next attempt after this failure, and the delay before it in seconds."""
        again, policy = StageCall(self.machine, self.item), self.machine.policy
        if (turn := self.turn) is not None:
            again.turn, turn.call = turn, again
        again.attempt, again.pushed_back = self.attempt, self.pushed_back
        again.key, again.line = self.key, self.line
        again.queued_at, again.weight = self.queued_at, self.weight  # until it is due
        stats = self.machine.settings.stats
        if uses_attempt(error):
            stats.retried += 1
            again.attempt += 1
            return again, policy.delay(self.attempt, error)
        stats.pushed_back += 1
        stats.refusal = said(error)
        again.pushed_back += 1
        return again, policy.delay(again.pushed_back, error)

    def time(self, ended: str) -> CallTime | None:
        """When it was made, and how it has ended just now; None if it was not made."""
        call: StageCall = self if self.batch is None else self.batch
        if not call.in_flight:
            return None
        began = call.began if call.first_began is None else call.first_began
        waited = 0.0 if self.queued_at is None or self.queued_at > began else began - self.queued_at
        seconds = self.machine.clock.now() - began if call.live else call.seconds
        return CallTime(self.attempt, began, waited, seconds, call.in_flight, ended)

    def waited_downstream(self) -> float:
        """Seconds in which a call that has ended waited for room for its values; 0 unless it gave many."""
        return 0.0 if self.first_began is None else self.machine.clock.now() - self.first_began - self.seconds

    def begin(self) -> bool:
        """The function starts now, after it was queued or on hold; false if the stage is over."""
        self.began = self.machine.clock.now()
        self.machine.post(self.machine.begun, self)
        return not self.machine.over

    def worked(self) -> None:
        """The iterator that the function returned has made a value, or has ended; from any thread."""
        self.working = False  # set before reading; the stage does the reverse: so one of them sees the other
        if not self.live:
            self.machine.post(self.machine.came_back, self)

    def end(self) -> None:
        """It runs no more."""
        self.live = False
        if self.permit is not None:
            self.permit.call_ended(self)

    def hold(self) -> None:
        """Stop the call's timeout; ``begin`` starts it anew."""
        self.machine.post(self.machine.held, self)

    def done(self, ok: bool, result: Any) -> None:
        """The function returned, or raised."""
        machine = self.machine
        machine.post(machine.returned, self, ok, result)

    def give_up(self, error: Exception) -> None:
        """End it with this error if it runs; if it waits, or another attempt of its item, have that begin now."""
        self.machine.post(self.machine.give_up, self, error)

    def remaining(self) -> float | None:
        """Seconds left until the deadline."""
        timeout = self.machine.settings.timeout
        return None if timeout is None else self.began + timeout - self.machine.clock.now()

    def record(self, usage: Usage) -> None:
        """The function has used this; from any thread."""
        with self.machine.recording:
            self.usage = usage if self.usage is None else self.usage + usage

    def take_usage(self) -> Usage | None:
        """What it has used since this was last asked."""
        with self.machine.recording:
            usage, self.usage = self.usage, None
        return usage

    def note(self, value: object) -> None:
        """The function leaves something for whoever is told of its end; from any thread."""
        with self.machine.recording:
            notes = self.notes = [] if self.notes is None else self.notes
            if len(notes) < _MOST_NOTES:
                notes.append(value)

    def take_notes(self) -> Sequence[object]:
        """What its function has left; of a call for many items, for the first of them that asks."""
        if self.batch is not None:
            found: Sequence[object] = self.batch.take_notes()
            return found
        if self.notes is None:
            return ()
        with self.machine.recording:
            notes, self.notes = self.notes, None
        return notes or ()

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt follows if the function raises this: not if the call has timed out, or all is over.

        Nor if the policy's own function fails at it, as that is how the item fails then.
        """
        try:
            return self.live and not self.machine.over and self.machine.policy.applies(error, self.attempt)
        except Exception:  # noqa: BLE001 - the user's retry_on raised: it does so again, when the call has failed
            return False

    def recovered(self, error: BaseException) -> Any:
        """What the stage's ``recover`` makes of the failure; raises ``error`` if there is none."""
        settings = self.machine.settings
        if settings.recover is None:
            raise error
        failure = Failure(value=self.item, error=error, stage=settings.name, attempts=self.attempt)
        return settings.recover(failure)

    def subscribe_to(self, source: Observable[Any], scheduler: SchedulerBase | None) -> None:
        """Take the values of the Observable that the function returned, one at a time as they go downstream."""
        running_call.set(self)
        self.inner = Gate(1)
        with announcing(self.inner):
            try:
                self.handle = source.subscribe(self._on_next, self._on_error, self._on_completed, scheduler=scheduler)
            except BaseException as error:  # noqa: BLE001 - the call's failure, whatever it is
                self._on_error(error)

    def _on_next(self, value: Any) -> None:
        assert self.inner is not None
        self.inner.admitted += 1
        self.machine.post(self.machine.inner_next, self, value)

    def _on_error(self, error: BaseException) -> None:
        self.machine.post(self.machine.inner_ended, self, error)

    def _on_completed(self) -> None:
        self.machine.post(self.machine.inner_ended, self, None)


class StuckCalls:
    """Calls that timed out or were given up and have not ended, and the slots that they take.

    A coroutine that was cancelled keeps its slot until it has ended. So does a thread, unless there is a fresh one
    for its slot, within an allowance.

    Attributes:
        slots: Those left to other calls.
    """

    def __init__(
        self,
        settings: Settings[Any, Any],
        width: float,
        clock: Clock,
        on_stall: Callable[[], None],
    ) -> None:
        """Count none.

        Args:
            settings: The stage's.
            width: Calls that its runner can run at once, abandoned ones included.
            clock: To wait on.
            on_stall: Called when all slots may have been taken for as long as a call may take; ask ``stalled``.
        """
        self.slots = self._all = settings.concurrency
        self._width = width
        fresh = math.inf if width == math.inf else max(0, width - settings.concurrency)
        self._allowance = min(settings.max_abandoned, fresh)
        self._timeout = math.inf if settings.timeout is None else settings.timeout
        self._clock = clock
        self._on_stall = on_stall
        self._cancelled = 0
        self._abandoned = 0
        self._timer: DisposableBase | None = None
        self._since = 0.0

    @property
    def count(self) -> int:
        """Calls that have not ended."""
        return self._cancelled + self._abandoned

    def add(self, call: StageCall) -> None:
        """The call timed out or was given up, and has not ended."""
        call.is_stuck = True
        if call.cancels:
            self._cancelled += 1
        else:
            self._abandoned += 1
        self._count_slots()

    def remove(self, call: StageCall) -> None:
        """It ended after all; no matter if it was not stuck."""
        if not call.is_stuck:
            return
        call.is_stuck = False
        if call.cancels:
            self._cancelled -= 1
        else:
            self._abandoned -= 1
        self._count_slots()

    def resize(self, slots: int) -> None:
        """The stage has so many slots from now on."""
        self._all = slots
        self._count_slots()

    def _count_slots(self) -> None:
        stuck = self._cancelled + max(0, self._abandoned - self._allowance)
        self.slots = self._all - stuck if stuck < min(self._all, self._width) else 0
        if self.slots > 0:
            self.dispose()
        elif self._timer is None:
            self._since = self._clock.now()
            self._timer = self._clock.call_later(self._timeout, self._on_stall)

    def stalled(self) -> bool:
        """Whether all slots have been taken for so long; if not yet, ``on_stall`` is called again."""
        if self.slots > 0:
            return False
        left = self._since + self._timeout - self._clock.now()
        if left > TICK:  # a timer may ring early: some count in milliseconds
            self._timer = self._clock.call_later(left, self._on_stall)
            return False
        return True

    def dispose(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None


Follow = Callable[[StageCall, Any], None]


class Kinds(dict[type[Any], Follow | None]):
    """What is to be done with results of each type; found out when the first of them comes."""

    def __init__(self, how: Callable[[type[Any]], Follow | None]) -> None:
        self._how = how

    def __missing__(self, kind: type[Any]) -> Follow | None:
        if len(self) >= _KINDS:
            self.clear()
        self[kind] = how = self._how(kind)
        return how


def warn_of_queue(stage: str) -> None:
    """Tell that more items wait than a stage should hold."""
    _log.warning(
        "source ignores backpressure, its items queue without bound",
        stage=stage,
        hint="use rxpipe.from_iterable, or ops.overflow for a source that cannot pause",
    )
