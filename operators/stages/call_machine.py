"""Half of one subscription to a stage: queues items and runs calls."""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from ..core.clock import Clock, guarded
from ..core.dispatchers import Dispatcher
from ..core.machine import Machine
from ..core.worker import call_context
from ..errors import StageStalled, StageTimeout
from ..runners.runner import Runner
from .adaptive import Adapting
from .call import TICK, StageCall, StuckCalls, warn_of_queue
from .key_order import KeyOrder
from .limiter import Permit
from .order import Order
from .pending_retries import Retries
from .retry_policy import NO_RETRY
from .settings import Settings
from .times import Level

A = TypeVar("A")
B = TypeVar("B")


class CallMachine(Machine[A, B]):
    """Admits at most ``concurrency + queue_size`` items, and gives ``concurrency`` slots to their calls.

    A call keeps its slot until its result has gone downstream. If a call times out, its slot is free when the call has
    really ended. An abandoned thread within the allowance frees its slot at once.
    """

    __slots__ = (  # with so many attributes, a dictionary is slow
        *("_adapting", "_cancels", "_context", "_due_again", "_envelope", "_fn", "_gates", "_is_exact", "_is_timed"),
        *("_keys", "_loop_runner", "_make_loop_runner", "_may_begin", "_now", "_open", "_order", "_outbox"),
        *("_permit", "_queues", "_readmitted", "_retries", "_ring", "_runner", "_running", "_scheduler", "_start_call"),
        *(
            "_stats",
            "_stuck",
            "_taken",
            "_timeout",
            "_timer",
            "_times",
            "_waiting",
            "_warned",
            "clock",
            "policy",
            "recording",
        ),
        *("settings",),
    )

    def __init__(
        self,
        settings: Settings[A, B],
        observer: ObserverBase[B],
        *,
        clock: Clock,
        runner: Runner,
        loop_runner: Callable[[], Runner],
        dispatcher: Dispatcher | None,
        scheduler: SchedulerBase | None,
    ) -> None:
        # Half of the queue is enough to keep the slots busy while upstream is woken.
        slack = 1 if settings.queue_size == math.inf else max(1, int(settings.queue_size) // 2)
        super().__init__(observer, settings.holds(settings.concurrency), dispatcher, slack=slack)
        self.settings = settings
        self.policy = settings.retry or NO_RETRY
        self._fn, self._timeout = settings.fn, settings.timeout
        self._permit = None if settings.rate_limit is None else Permit(settings.rate_limit, clock, self.post)
        self._envelope, self._stats, self._times = settings.envelope, settings.stats, settings.stats.times
        if settings.envelope is not None:
            settings.envelope.attach(partial(self.post, self._readmit))
        self._gates = settings.envelope is not None and settings.expand
        self._keys = None if settings.key is None else KeyOrder(settings.key, settings.name)
        self._may_begin = None if settings.envelope is None else settings.envelope.may_begin
        self._open: Callable[[Any, Any], Any] | None = None if settings.envelope is None else settings.envelope.open
        self.clock, self._now = clock, clock.now
        self._runner, self._start_call = runner, runner.start
        self._queues, self._cancels = runner.queues, runner.cancels  # read once, since each call needs them
        self._loop_runner: Runner | None = None
        self._scheduler, self._make_loop_runner = scheduler, loop_runner
        self._context = call_context()
        self._waiting: deque[StageCall] = deque()  # new items
        self._retries = Retries(clock, self.post)
        self._due_again = self._retries.due  # these come before new items
        self._times.delayed = self._retries.delayed
        self._is_exact = self._times.is_exact
        self._is_timed = self._is_exact or settings.expand
        # Running calls and their deadlines, in starting order. All have the same timeout, so the first is due first.
        self._running: dict[StageCall, float] = {}
        self._times.running = partial(list[StageCall], self._running)
        self._order = Order() if settings.ordered else None
        self._outbox: deque[tuple[StageCall, Any]] = deque()
        self._stuck = StuckCalls(settings, runner.width, clock, lambda: self.post(self._stall))
        self._taken: int = 0  # slots of calls that run, or whose results have not gone downstream
        self._timer: DisposableBase | None = None
        self._ring = partial(self.post, self._expire)
        self._warned = False
        self._readmitted = 0  # all items readmitted so far: they may be beyond the bound, though the source respects it
        self.recording = threading.Lock()  # held while a call's usage is changed or taken
        self._adapting = None if settings.adaptive is None else Adapting(settings.adaptive, self._resize)

    # Items come in, and calls start

    def arrive(self, value: A) -> None:
        """Queue an item."""
        if self.over:
            return
        call = StageCall(self, value)
        times = self._times
        if not self._stats.taken & times.mask:
            call.queued_at, call.weight = self._now(), times.mask + 1
        elif self._is_exact:
            call.queued_at = self._now()
        if self._order is not None:
            self._order.enter(call)
        try:
            if self._envelope is not None and (admission := self._envelope.admit(value, call)) != "call":
                if admission == "pass":
                    self._result(call, value)
                self._finish(call)
                return
            if self._keys is None or self._keys.may_begin(call):
                self._waiting.append(call)
        except BaseException as error:  # noqa: BLE001 - whatever the user's ``when`` or ``key`` raises
            self._stats.taken += 1
            self._stats.started += 1
            self._failed_for_good(call, error)
            return
        self._stats.taken += 1
        if len(self._waiting) > self.gate.capacity and not self._warned:
            self._look_at_queue()

    def _look_at_queue(self) -> None:
        self._warned = len(self._waiting) > self.gate.capacity + self._readmitted
        if self._warned:
            warn_of_queue(self.settings.name)

    def _readmit(self, value: A) -> None:
        """Take an item that comes back or was kept. It may be beyond the bound: waiting could cause a deadlock.

        Until the item has left, upstream has one place less.
        """
        if not self.over:
            self.gate.released -= 1
            self._readmitted += 1
            self.arrive(value)

    def advance(self) -> None:
        """Start calls and send results downstream, as far as possible."""
        if self._waiting or self._due_again:
            self._start_calls()
        while self._outbox and not self.over and (not self._gates or self._may_pass()) and self.may_emit():
            self._send(*self._outbox.popleft())
            if self._waiting or self._due_again:
                self._start_calls()
        if self.source_done and not self.gate.held and not self._outbox:
            self.end()
        elif self.gate.waiting and not self._waiting and self._taken < self._stuck.slots:
            self.gate.open()  # a slot is idle: wake upstream even if fewer than ``slack`` places are free

    def _start_calls(self) -> None:
        while self._taken < self._stuck.slots and not self.over:
            if not (self._due_again or self._waiting):
                return
            if self._may_begin is not None and not self._is_let_begin(self._may_begin):
                break
            if self._permit is not None and not self._is_permitted(self._permit):
                return
            self._start(self._retries.take() if self._due_again else self._waiting.popleft(), self._permit)
        if self._order is not None and (self._due_again or self._waiting) and self._stuck.slots > 0:
            self._make_way(self._order)
        if self._permit is not None:
            self._permit.drop()  # if the permit has come: no call can start now, so give it up

    def _is_let_begin(self, may_begin: Callable[[Callable[[], None]], bool]) -> bool:
        is_let = may_begin(self._woken)
        if not is_let or self._times.held.now:
            self._note_lack(self._times.held, 0 if is_let else self._lacking)
        return is_let

    def _is_permitted(self, permit: Permit) -> bool:
        is_here = permit.take()
        self._note_lack(self._times.limited, 0 if is_here else self._lacking)
        return is_here

    @property
    def _lacking(self) -> int:
        """Free slots that an item could use."""
        return int(min(self._stuck.slots - self._taken, len(self._due_again) + len(self._waiting)))

    def _note_lack(self, level: Level, slots: int) -> None:
        if level.now != slots:
            level.set(slots, self._now())

    def _make_way(self, order: Order) -> None:
        """If waiting Observables hold all slots, give a slot to the item whose turn it is.

        First, the Observables may emit more values, so that one completes and frees its slot. If each has emitted many
        and none has completed, the item is called beyond ``concurrency``. Otherwise the stage would wait for ever.
        """
        first = order.first
        comes_late = self._keys is not None and first in self._waiting  # it has waited for an item with its key
        if not (comes_late or first in self._due_again) or not order.make_way(self._running):
            return
        if self._permit is None or self._permit.take():
            if comes_late:
                self._waiting.remove(first)
            else:
                del self._due_again[first]
            self._start(first, self._permit)

    def _start(self, call: StageCall, permit: Permit | None = None) -> None:
        call.holds = True
        call.permit = permit
        self._taken += 1
        self._stats.started += 1
        call.cancels = self._cancels
        call.began = began = self._now()
        if self._is_exact:
            call.in_flight = self._taken
        if self._timeout is None or self._queues:
            self._running[call] = math.inf
        else:
            self._running[call] = began + self._timeout
            if self._timer is None:
                self._timer = self.clock.call_later(self._timeout, self._ring)
        try:
            argument = call.item if self._open is None else self._open(call.item, call)
            call.handle = self._start_call(self._fn, argument, call)
        except Exception as error:  # noqa: BLE001 - an executor that is shut down or broken: this call's failure
            self.returned(call, False, error)

    def begun(self, call: StageCall) -> None:
        """A call begins after queueing, or after a hold of its timeout."""
        if call.live and self._timeout is not None and not self.over:
            del self._running[call]
            self._running[call] = call.began + self._timeout
            if self._timer is None:
                self._timer = self.clock.call_later(self._timeout, self._ring)

    def held(self, call: StageCall) -> None:
        """Stop a call's timeout; ``begun`` starts it again."""
        if call.live and not self.over:
            self._running[call] = math.inf

    def _resize(self, slots: int) -> None:
        self._stats.resize(slots, self._now())
        self._stuck.resize(slots)
        self.gate.resize(self.settings.holds(slots))

    # Calls are ended early

    def _expire(self) -> None:
        self._timer = None
        for call, due in list(self._running.items()):
            if self.over or due == math.inf:  # the call has not begun
                continue
            left = due - self._now()
            if left > TICK:
                self._timer = self.clock.call_later(left, self._ring)
                return
            self._end_early(call, StageTimeout(self.settings.name, self._timeout or 0.0))

    def give_up(self, call: StageCall, error: Exception) -> None:
        """See ``Call.give_up``."""
        if self.over:
            return
        if call in self._running:
            self._end_early(call, error)
        elif call in self._waiting or (self._keys is not None and self._keys.remove(call)):
            with suppress(ValueError):
                self._waiting.remove(call)
            self._start(call)  # beyond the bound: its envelope raises, so no call is made
        for again in self._retries.take_all(call.item):
            self._start(again)

    def _end_early(self, call: StageCall, error: Exception) -> None:
        self._stop_running(call)
        self._free_slot(call)
        if call.inner is None or call.working:
            self._stuck.add(call)
            self._stats.abandoned += not call.cancels
        if call.handle is not None:
            guarded(call.handle.dispose)
        self._failed(call, error)

    def came_back(self, call: StageCall) -> None:
        """An iterator that a function returned has ended its work, after its call had been ended early."""
        if not self.over:
            self._stuck.remove(call)

    def _stall(self) -> None:
        if self._stuck.stalled():  # if not, it is asked again later
            self.end(StageStalled(self.settings.name, self._stuck.count))

    # The other half handles the ends of calls

    @abstractmethod
    def returned(self, call: StageCall, ok: bool, result: Any) -> None:
        """The function returned or raised."""

    @abstractmethod
    def inner_next(self, call: StageCall, value: Any) -> None:
        """The Observable that the function returned gave a value."""

    @abstractmethod
    def inner_ended(self, call: StageCall, error: BaseException | None) -> None:
        """The Observable that the function returned has ended."""

    @abstractmethod
    def _failed(self, call: StageCall, error: BaseException) -> None: ...

    @abstractmethod
    def _failed_for_good(self, call: StageCall, error: BaseException) -> None: ...

    @abstractmethod
    def _stop_running(self, call: StageCall) -> None: ...

    @abstractmethod
    def _result(self, call: StageCall, value: Any) -> None: ...

    @abstractmethod
    def _finish(self, call: StageCall) -> None: ...

    @abstractmethod
    def _free_slot(self, call: StageCall) -> None: ...

    @abstractmethod
    def _send(self, call: StageCall, value: Any) -> None: ...

    def _may_pass(self) -> bool:
        """Returns True if the first result may go downstream. Asked if ``_gates``, before asking for room."""
        return True
