"""One call of a stage; and the calls that timed out and have not ended."""

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

TICK = 1e-6  # seconds: the resolution of schedulers
_MOST_NOTES = 50
_KINDS = 1_000  # the most types of results to remember: some programs make a new type for each result

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Owner(Protocol):
    """The stage of a call, which receives its reports. All methods but ``post`` are called in the stage's turn."""

    clock: Clock
    policy: Retry
    settings: Settings[Any, Any]
    recording: Lock  # held while a call's usage is changed or taken

    @property
    def over(self) -> bool:
        """True if the stage is over."""
        ...

    def post(self, handler: Callable[..., None], *args: Any) -> None:
        """Call a handler in the stage's turn. From any thread."""
        ...

    def begun(self, call: StageCall) -> None:
        """A call that had to queue begins."""
        ...

    def held(self, call: StageCall) -> None:
        """A call's timeout is stopped until the call begins again."""
        ...

    def returned(self, call: StageCall, ok: bool, result: Any) -> None:
        """A call has returned or raised."""
        ...

    def give_up(self, call: StageCall, error: Exception) -> None:
        """A call's item is no longer wanted."""
        ...

    def came_back(self, call: StageCall) -> None:
        """A call that was ended early has really ended."""
        ...

    def inner_next(self, call: StageCall, value: Any) -> None:
        """The Observable that a call returned gave a value."""
        ...

    def inner_ended(self, call: StageCall, error: BaseException | None) -> None:
        """The Observable that a call returned has ended."""
        ...


class Turn:
    """An item's place in the order.

    Attributes:
        call: The item's latest call.
        results: The item's results that wait for their turn.
        finished: True if no more results will come.
    """

    __slots__ = ("call", "finished", "results")

    def __init__(self, call: StageCall) -> None:
        self.call = call
        self.results: deque[tuple[StageCall, Any]] = deque()
        self.finished = False


class StageCall:
    """One attempt at one item. Each retry is a new object, so a late result reaches an attempt that is not ``live``.

    Runners and Observables report to the call, from any thread. The call passes everything to its stage's mailbox.
    """

    # Instance attributes are faster to read than class attributes. Those that every call reads are set in ``__init__``.
    attempt = 1
    pushed_back = 0  # refusals of this item that used no attempt
    notes: list[object] | None = None  # values that the function has attached
    began = 0.0
    first_began: float | None = None  # if a value had waited for room downstream: when the call first began
    spent = 0.0  # seconds before it went on
    queued_at: float | None = None  # None: its wait is not timed
    due_at = 0.0  # when its delay is over
    seconds = 0.0  # seconds that it took, once it has ended
    blocked_at: float | None = None  # since when a result has waited for room downstream
    in_flight = 0  # calls of its stage that ran when it began, or 0
    waits_since: float | None = None  # since when it waits for others to share a call
    handle: DisposableBase | None = None
    cancels = False  # True if disposing the handle ends it soon, as for a coroutine
    inner: Gate | None = None  # the gate of the Observable that the function returned
    working = False  # True while an iterator that the function returned makes its next value
    is_ending = False  # True if it was cancelled when the stage was disposed
    is_stuck = False  # True if it was ended early, but goes on
    holds = False  # True if it has a slot
    permit: Permit | None = None  # the permit that it began with
    finished = False  # True if no more results will come
    unsent = 0  # results that have not gone downstream
    key: Hashable = None  # its item's key, if the stage has keys
    line: deque[StageCall] | None = None  # the calls that wait behind the first call of the key
    batch: Any = None  # the call for many items to which it belongs

    def __init__(self, machine: Owner, item: Any) -> None:
        self.machine = machine
        self.item = item
        self.live = True  # until it returns, completes or times out
        self.usage: Usage | None = None
        self.weight = 0  # calls that it stands for in the stage's times; 0 if it is not timed
        self.turn: Turn | None = None  # its item's turn, if the stage keeps the order

    def following(self, error: BaseException) -> tuple[StageCall, float]:
        """Returns the next attempt after this failure, and its delay in seconds."""
        again, policy = StageCall(self.machine, self.item), self.machine.policy
        if (turn := self.turn) is not None:
            again.turn, turn.call = turn, again
        again.attempt, again.pushed_back = self.attempt, self.pushed_back
        again.key, again.line = self.key, self.line
        again.queued_at, again.weight = self.queued_at, self.weight  # until its delay is over
        stats = self.machine.settings.stats
        if uses_attempt(error):
            stats.retried += 1
            again.attempt += 1
            return again, policy.delay(self.attempt, error)
        stats.refusal = said(error)  # first: whoever sees the refusal finds its text
        stats.pushed_back += 1
        again.pushed_back += 1
        return again, policy.delay(again.pushed_back, error)

    def time(self, ended: str) -> CallTime | None:
        """Returns when the call was made, and that it has just ended as ``ended``; None if it was not made."""
        call: StageCall = self if self.batch is None else self.batch
        if not call.in_flight:
            return None
        began = call.began if call.first_began is None else call.first_began
        waited = 0.0 if self.queued_at is None or self.queued_at > began else began - self.queued_at
        seconds = self.machine.clock.now() - began if call.live else call.seconds
        return CallTime(self.attempt, began, waited, seconds, call.in_flight, ended)

    def waited_downstream(self) -> float:
        """Seconds that an ended call waited for room for its values; 0 without ``expand``."""
        return 0.0 if self.first_began is None else self.machine.clock.now() - self.first_began - self.seconds

    def begin(self) -> bool:
        """The function starts now, after queueing or holding. Returns False if the stage is over."""
        self.began = self.machine.clock.now()
        self.machine.post(self.machine.begun, self)
        return not self.machine.over

    def worked(self) -> None:
        """The iterator that the function returned has made a value, or has ended. From any thread."""
        self.working = False  # set before reading; the stage does the reverse, so one of them sees the other
        if not self.live:
            self.machine.post(self.machine.came_back, self)

    def end(self) -> None:
        """The call no longer runs."""
        self.live = False
        if self.permit is not None:
            self.permit.call_ended(self)

    def hold(self) -> None:
        """Stop the call's timeout; ``begin`` starts it again."""
        self.machine.post(self.machine.held, self)

    def done(self, ok: bool, result: Any) -> None:
        """The function returned or raised."""
        machine = self.machine
        machine.post(machine.returned, self, ok, result)

    def give_up(self, error: Exception) -> None:
        """End the call with this error if it runs. If the item's call or next attempt waits, let it begin now."""
        self.machine.post(self.machine.give_up, self, error)

    def remaining(self) -> float | None:
        """Returns the seconds left until the deadline; None without a timeout."""
        timeout = self.machine.settings.timeout
        return None if timeout is None else self.began + timeout - self.machine.clock.now()

    def record(self, usage: Usage) -> None:
        """Add to the usage of the call. From any thread."""
        with self.machine.recording:
            self.usage = usage if self.usage is None else self.usage + usage

    def take_usage(self) -> Usage | None:
        """Returns the usage since the last time."""
        with self.machine.recording:
            usage, self.usage = self.usage, None
        return usage

    def note(self, value: object) -> None:
        """Attach a value to the call, for the listeners of its end. From any thread."""
        with self.machine.recording:
            notes = self.notes = [] if self.notes is None else self.notes
            if len(notes) < _MOST_NOTES:
                notes.append(value)

    def take_notes(self) -> Sequence[object]:
        """Returns the values that the function has attached.

        In a call for many items, the first item that asks gets them.
        """
        if self.batch is not None:
            found: Sequence[object] = self.batch.take_notes()
            return found
        if self.notes is None:
            return ()
        with self.machine.recording:
            notes, self.notes = self.notes, None
        return notes or ()

    def retries(self, error: BaseException) -> bool:
        """Returns True if another attempt follows when the function raises this error.

        False if the call has timed out, if the stage is over, or if the user's ``retry_on`` raises: then the item
        fails.
        """
        try:
            return self.live and not self.machine.over and self.machine.policy.applies(error, self.attempt)
        except Exception:  # noqa: BLE001 - the user's retry_on raised: it does so again, when the call has failed
            return False

    def recovered(self, error: BaseException) -> Any:
        """Returns the value that the stage's ``recover`` makes of the failure.

        Raises ``error`` if there is no ``recover``.
        """
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
    """Calls that timed out or were given up and have not ended, and the slots that they hold.

    A coroutine that was cancelled keeps its slot until it has ended. So does a thread, unless a fresh thread, within
    the allowance, takes over its slot.

    Attributes:
        slots: The slots that other calls can use.
    """

    def __init__(
        self,
        settings: Settings[Any, Any],
        width: float,
        clock: Clock,
        on_stall: Callable[[], None],
    ) -> None:
        """Begin without stuck calls.

        Args:
            settings: The settings of the stage.
            width: Calls that the runner can run at once, including abandoned ones.
            clock: The clock to wait on.
            on_stall: Called when stuck calls may have held all slots for the stage's timeout. Then read ``stalled``.
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
        """Number of calls that have not ended."""
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
        """A call has ended. Does nothing if the call was not stuck."""
        if not call.is_stuck:
            return
        call.is_stuck = False
        if call.cancels:
            self._cancelled -= 1
        else:
            self._abandoned -= 1
        self._count_slots()

    def resize(self, slots: int) -> None:
        """Set the number of slots of the stage."""
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
        """Returns True if stuck calls have held all slots for the stage's timeout.

        If not yet, ``on_stall`` is called again.
        """
        if self.slots > 0:
            return False
        left = self._since + self._timeout - self._clock.now()
        if left > TICK:  # a timer may ring early: some count in milliseconds
            self._timer = self._clock.call_later(left, self._on_stall)
            return False
        return True

    def dispose(self) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None


Follow = Callable[[StageCall, Any], None]


class Kinds(dict[type[Any], Follow | None]):
    """How to handle results of each type. Decided when the first result of a type comes."""

    def __init__(self, how: Callable[[type[Any]], Follow | None]) -> None:
        self._how = how

    def __missing__(self, kind: type[Any]) -> Follow | None:
        if len(self) >= _KINDS:
            self.clear()
        self[kind] = how = self._how(kind)
        return how


def warn_of_queue(stage: str) -> None:
    """Log a warning that more items wait than a stage should hold."""
    _log.warning(
        "source ignores backpressure, its items queue without bound",
        stage=stage,
        hint="use rxpipe.from_iterable, or ops.overflow for a source that cannot pause",
    )
