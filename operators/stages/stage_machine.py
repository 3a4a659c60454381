"""One subscription to a stage: which items wait, which calls run, and what becomes of them."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from ..core.clock import Clock, guarded
from ..core.dispatchers import Dispatcher
from ..core.machine import Machine, as_exception
from ..core.worker import call_context, discard
from ..errors import StageStalled, StageTimeout
from ..runners.loop_runner import result_of
from ..runners.runner import Runner
from .adaptive import Adapting
from .call import TICK, Kinds, StageCall, StuckCalls, warn_of_queue
from .limiter import Permit
from .order import Order
from .pending_retries import Retries
from .retry_policy import NO_RETRY, asked_delay, uses_attempt
from .settings import Settings

A = TypeVar("A")
B = TypeVar("B")


class StageMachine(Machine[A, B]):
    """Admits at most ``concurrency + queue_size`` items, and gives ``concurrency`` slots to their calls.

    A call keeps its slot until its result has gone downstream. A slot whose call timed out is free at once if the
    call is only a thread to be abandoned, within the allowance; else when the call has really ended.
    """

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
        super().__init__(observer, settings.concurrency + settings.queue_size, dispatcher, slack=slack)
        self.settings = settings
        self.policy = settings.retry or NO_RETRY
        self._fn, self._timeout = settings.fn, settings.timeout
        self._permit = None if settings.rate_limit is None else Permit(settings.rate_limit, clock, self.post)
        self._envelope, self._stats = settings.envelope, settings.stats
        self._may_begin = None if settings.envelope is None else settings.envelope.may_begin
        self.clock, self._now = clock, clock.now
        self._runner, self._start_call = runner, runner.start
        self._queues, self._cancels = runner.queues, runner.cancels  # read once: asked for each call
        self._loop_runner: Runner | None = None
        self._scheduler, self._make_loop_runner = scheduler, loop_runner
        self._context = call_context()
        self._waiting: deque[StageCall] = deque()  # new items
        self._retries = Retries(clock, self.post)
        self._due_again = self._retries.due  # before new items
        # Running calls and their deadlines, in starting order. All have the same timeout, so the first is due first.
        self._running: dict[StageCall, float] = {}
        self._order = Order() if settings.ordered else None
        self._outbox: deque[tuple[StageCall, Any]] = deque()
        self._stuck = StuckCalls(settings, runner.width, clock, lambda: self.post(self._stall))
        self._taken = 0  # slots of calls that run, or whose results have not gone downstream
        self._timer: DisposableBase | None = None
        self._ring = partial(self.post, self._expire)
        self._warned = False
        self.recording = threading.Lock()  # held while a call's usage is added to, or taken
        self._adapting = None if settings.adaptive is None else Adapting(settings.adaptive, self._resize)
        self._follows = Kinds(self._how_to_follow)

    # Items come in, and calls start

    def arrive(self, value: A) -> None:
        """Queue an item."""
        if self.over:
            return
        call = StageCall(self, value)
        if self._order is not None:
            self._order.enter(call)
        if self._envelope is not None and self._envelope.skip(value, call):
            self._result(call, value)
            self._finish(call)
        else:
            self._stats.taken += 1
            self._waiting.append(call)
            if len(self._waiting) > self.gate.capacity and not self._warned:
                self._warned = True
                warn_of_queue(self.settings.name)

    def advance(self) -> None:
        """Start what may start, send what may go."""
        if self._waiting or self._due_again:
            self._start_calls()
        while self._outbox and not self.over and self.may_emit():
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
            if self._may_begin is not None and not self._may_begin(self._woken):
                break
            if not (self._permit is None or self._permit.take()):
                return
            self._start(self._retries.take() if self._due_again else self._waiting.popleft(), self._permit)
        if self._order is not None and self._due_again and self._stuck.slots > 0:
            self._make_way(self._order)
        if self._permit is not None:
            self._permit.drop()  # if it has come: no call can start now, so give it up

    def _make_way(self, order: Order) -> None:
        """If waiting Observables take all slots, see that the item whose turn it is gets one.

        First, they may emit more values, so that one completes and frees its slot. If each has emitted many and none
        has completed, the item is called beyond ``concurrency``: otherwise the stage would wait for ever.
        """
        first = order.first
        if first in self._due_again and order.make_way(self._running) and (self._permit is None or self._permit.take()):
            del self._due_again[first]
            self._start(first, self._permit)

    def _start(self, call: StageCall, permit: Permit | None = None) -> None:
        call.holds = True
        call.permit = permit
        self._taken += 1
        self._stats.started += 1
        call.cancels = self._cancels
        call.began = began = self._now()
        if self._timeout is None or self._queues:
            self._running[call] = math.inf
        else:
            self._running[call] = began + self._timeout
            if self._timer is None:
                self._timer = self.clock.call_later(self._timeout, self._ring)
        try:
            argument = call.item if self._envelope is None else self._envelope.open(call.item, call)
            call.handle = self._start_call(self._fn, argument, call)
        except Exception as error:  # noqa: BLE001 - an executor that is shut down or broken: this call's failure
            self.returned(call, False, error)

    def begun(self, call: StageCall) -> None:
        """A call that had to queue begins, or one whose time was held."""
        if call.live and self._timeout is not None and not self.over:
            del self._running[call]
            self._running[call] = call.began + self._timeout
            if self._timer is None:
                self._timer = self.clock.call_later(self._timeout, self._ring)

    def held(self, call: StageCall) -> None:
        """Stop a call's timeout; ``begun`` starts it anew."""
        if call.live and not self.over:
            self._running[call] = math.inf

    def _resize(self, slots: int) -> None:
        self._stats.resize(slots, self._now())
        self._stuck.resize(slots)
        self.gate.resize(slots + self.settings.queue_size)

    # Calls are ended early

    def _expire(self) -> None:
        self._timer = None
        for call, due in list(self._running.items()):
            if self.over or due == math.inf:  # not begun
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
        elif call in self._waiting:
            self._waiting.remove(call)
            self._start(call)  # beyond the bound: its envelope raises, so no call is made
        for again in self._retries.take_all(call.item):
            self._start(again)

    def _end_early(self, call: StageCall, error: Exception) -> None:
        self._stop_running(call)
        self._free_slot(call)
        if call.inner is None:
            self._stuck.add(call)
            self._stats.abandoned += not call.cancels
        if call.handle is not None:
            guarded(call.handle.dispose)
        self._failed(call, error)

    def _stall(self) -> None:
        if self._stuck.stalled():  # if not, it is asked again when it may have
            self.end(StageStalled(self.settings.name, self._stuck.count))

    # Calls end

    def returned(self, call: StageCall, ok: bool, result: Any) -> None:
        """The function returned, or raised."""
        if self.over or not call.live:
            self._count_usage(call)
            discard(result)
            if not self.over:
                self._stuck.remove(call)
            return
        if not ok:
            self._stop_running(call)
            self._free_slot(call)
            self._failed(call, result)
            return
        try:
            follow = self._follows[type(result)]  # not ``result.__class__``, which may be anything, or raise
        except Exception:  # noqa: BLE001 - a metaclass may raise here, too: then it is an ordinary value
            follow = None
        if follow is not None:
            follow(call, result)
            return
        self._stop_running(call)
        self._succeeded(call)
        if self._envelope is not None:
            result = self._envelope.close(call.item, result)
        if self._outbox or call.turn is not None or not self.may_emit():
            self._result(call, result)
            self._finish(call)
        else:  # the same, without going through the outbox
            self.emit(result)
            self._taken -= 1
            self.gate.release()

    def _stop_running(self, call: StageCall) -> None:
        call.end()
        del self._running[call]
        self._stats.busy += self._now() - call.began
        if call.usage is not None:
            self._count_usage(call)

    def _count_usage(self, call: StageCall) -> None:
        if (usage := call.take_usage()) is not None:
            self._stats.usage += usage
            if self._envelope is not None:
                self._envelope.used(call.item, call.attempt, usage)

    def _succeeded(self, call: StageCall) -> None:
        self._stats.done += 1
        if self._adapting is not None:
            self._adapting.succeeded(self._now(), call.began, len(self._running) + 1)

    def _failed(self, call: StageCall, error: BaseException) -> None:
        try:
            if self._adapting is not None and not uses_attempt(error):
                self._adapting.pushed_back(self._now(), call.began, asked_delay(error) or 0.0)
            if self.policy.applies(error, call.attempt):
                self._try_again(call, error)
                return
        except BaseException as broken:  # noqa: BLE001 - the user's retry_on raised: that is how the item fails
            if broken is not error:
                broken.__context__ = error
            error = broken
        self._stats.failed += 1
        try:
            value = call.recovered(error)
        except BaseException as broken:  # noqa: BLE001 - what the function or the user's recover raised
            self.end(as_exception(broken))
            return
        self._result(call, value)
        self._finish(call)

    def _try_again(self, call: StageCall, error: BaseException) -> None:
        again, delay = call.following(error)
        self._retries.add(again, delay)
        if self._envelope is not None:
            self._envelope.again(call.item, call.attempt, error)

    # Functions that return an Observable or an awaitable

    def _how_to_follow(self, kind: type[Any]) -> Callable[[StageCall, Any], None] | None:
        if issubclass(kind, Observable):
            return self._subscribe_inner
        return self._await if hasattr(kind, "__await__") and not self._runner.cancels else None

    def _await(self, call: StageCall, awaitable: Any) -> None:
        if self._loop_runner is None:
            self._loop_runner = self._context.copy().run(self._make_loop_runner)
        call.cancels = True
        try:
            call.handle = self._loop_runner.start(result_of, awaitable, call)
        except Exception as error:  # noqa: BLE001 - the loop is closed: this call's failure
            discard(awaitable)
            self.returned(call, False, error)

    def _subscribe_inner(self, call: StageCall, source: Observable[Any]) -> None:
        if self._envelope is not None:
            source = source.pipe(rx_ops.last())
        self._context.copy().run(call.subscribe_to, source, self._scheduler)

    def inner_next(self, call: StageCall, value: Any) -> None:
        """The Observable that the function returned gave a value; where there is an envelope, its last and only one."""
        if not call.live:
            return
        if self._envelope is None:
            self._result(call, value)
            return
        self._stop_running(call)
        self._succeeded(call)
        self._result(call, self._envelope.close(call.item, value))
        self._finish(call)

    def inner_ended(self, call: StageCall, error: BaseException | None) -> None:
        """The Observable that the function returned failed, or completed."""
        if self.over or not call.live:
            return
        self._stop_running(call)
        if error is None:
            self._succeeded(call)
            self._finish(call)
        else:
            self._free_slot(call)
            self._failed(call, error)

    # Results go out

    def _result(self, call: StageCall, value: Any) -> None:
        call.unsent += 1
        if self._order is None or call.turn is None:
            self._outbox.append((call, value))
        else:
            call.turn.results.append((call, value))
            self._order.release(self._outbox)

    def _finish(self, call: StageCall) -> None:
        """No more results will come; the slot is free when they have gone downstream."""
        call.finished = True
        if self._order is not None and call.turn is not None:
            call.turn.finished = True
            self._free_slot(call)
            self._order.release(self._outbox)
        if not call.unsent:
            self._free_slot(call)
            self.gate.release()

    def _free_slot(self, call: StageCall) -> None:
        if call.holds:
            call.holds = False
            self._taken -= 1

    def _send(self, call: StageCall, value: Any) -> None:
        call.unsent -= 1
        self.emit(value)
        if call.inner is not None:
            call.inner.release()
        if call.finished and not call.unsent:
            self._free_slot(call)
            self.gate.release()

    def free(self) -> None:
        """Cancel everything."""
        self._stats.dropped += len(self._waiting) + len(self._retries)
        for timer in (self._timer, self._permit, self._stuck, self._retries):
            if timer is not None:
                timer.dispose()
        for call in self._running:
            call.end()
            self._count_usage(call)
            if call.handle is not None:
                guarded(call.handle.dispose)
        self._stats.cancelled += len(self._running)
        for held in (self._waiting, self._running, self._order, self._outbox):
            if held is not None:
                held.clear()
        for runner in (self._runner, self._loop_runner):
            if runner is not None:
                runner.close()
