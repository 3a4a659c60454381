"""One subscription to a stage: handles the ends of calls and their results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex import operators as rx_ops

from ..core.clock import guarded
from ..core.gate import Gate
from ..core.machine import as_exception
from ..core.worker import discard
from ..runners.loop_runner import result_of
from .call import Kinds, StageCall
from .call_machine import CallMachine
from .retry_policy import asked_delay, uses_attempt
from .settings import KEPT, Decision

A = TypeVar("A")
B = TypeVar("B")


class StageMachine(CallMachine[A, B]):
    """Ends calls, tries failed calls again, and sends results downstream."""

    __slots__ = ("_follows",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._follows = Kinds(self._how_to_follow)

    # Calls end

    def returned(self, call: StageCall, ok: bool, result: Any) -> None:
        """The function returned or raised."""
        if self.over or not call.live:
            self._count_usage(call)
            self._stats.ending -= call.is_ending
            call.is_ending = False
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
        self._stats.done += 1
        if self._adapting is not None:
            self._adapted(call)
        if self._envelope is not None:
            result = self._envelope.close(call.item, result)
        if self._outbox or call.turn is not None or self._keys is not None or result is KEPT or not self.may_emit():
            self._result(call, result)
            self._finish(call)
        else:  # the same, without going through the outbox
            self.emit(result)
            self._taken -= 1
            self.gate.release()

    def _stop_running(self, call: StageCall) -> None:
        call.live = False  # as in ``call.end``; here and below without method calls, to be fast
        if call.permit is not None:
            call.permit.call_ended(call)
        del self._running[call]
        now = self._now()
        if call.weight or self._is_timed:
            self._time(call, now)
        else:
            self._stats.busy += now - call.began
        if call.usage is not None:
            self._count_usage(call)

    def _time(self, call: StageCall, now: float) -> None:
        """Record the end of a call that is timed, or that may have been blocked."""
        if call.blocked_at is None:
            seconds = now - call.began
            self._stats.busy += seconds
        else:
            seconds = 0.0
            self._unblock(call, now)
        call.seconds = seconds + call.spent
        if call.weight:
            self._times.ended(call, now)

    def _count_usage(self, call: StageCall) -> None:
        if (usage := call.take_usage()) is not None:
            self._stats.usage += usage
            if self._envelope is not None:
                self._envelope.used(call.item, call.attempt, usage)

    def _succeeded(self, call: StageCall) -> None:
        self._stats.done += 1
        if self._adapting is not None:
            self._adapted(call)

    def _adapted(self, call: StageCall) -> None:
        if self._adapting is not None:
            self._adapting.succeeded(self._now(), call.began, len(self._running) + 1)

    def _failed(self, call: StageCall, error: BaseException) -> None:
        try:
            if self._adapting is not None and not uses_attempt(error):
                self._pushed_back(call, error)
            if self.policy.applies(error, call.attempt):
                self._try_again(call, error)
                return
        except BaseException as broken:  # noqa: BLE001 - the user's retry_on raised: that is how the item fails
            if broken is not error:
                broken.__context__ = error
            error = broken
        self._failed_for_good(call, error)

    def _pushed_back(self, call: StageCall, error: BaseException) -> None:
        if self._adapting is not None:
            self._adapting.pushed_back(self._now(), call.began, asked_delay(error) or 0.0)

    def _failed_for_good(self, call: StageCall, error: BaseException) -> None:
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
        is_observable = issubclass(kind, Observable)  # which may be awaitable, too
        if hasattr(kind, "__await__") and not is_observable and not self._runner.cancels:
            return self._await
        if self._envelope is not None and issubclass(kind, Decision):
            return self._decide
        return self._subscribe_inner if is_observable else None

    def _decide(self, call: StageCall, decision: Any) -> None:
        self._stop_running(call)
        assert self._envelope is not None
        self._result(call, self._envelope.decide(call.item, decision))
        self._finish(call)

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
        """The Observable that the function returned gave a value.

        With an envelope, the only value that counts is the last.
        """
        if not call.live:
            return
        if self._envelope is None:
            self._result(call, value)
            return
        if isinstance(value, Decision):
            self._decide(call, value)
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
            self._inner_completed(call)
            self._finish(call)
        else:
            self._free_slot(call)
            self._failed(call, error)

    def _inner_completed(self, call: StageCall) -> None:
        """The last value has come. There is nothing to do, unless each value is an item."""

    # Results go out

    def _result(self, call: StageCall, value: Any) -> None:
        if value is KEPT:
            return
        call.unsent += 1
        if self._order is None or call.turn is None:
            self._outbox.append((call, value))
        else:
            call.turn.results.append((call, value))
            self._order.release(self._outbox)

    def _finish(self, call: StageCall) -> None:
        """No more results will come. The slot is free when all results have gone downstream."""
        call.finished = True
        if self._keys is not None and (following := self._keys.ended(call)) is not None:
            self._waiting.append(following)
        if self._order is not None and call.turn is not None:
            call.turn.finished = True
            self._free_slot(call)
            self._order.release(self._outbox)
        if call.unsent:
            self._block(call if call.batch is None else call.batch)
        else:
            self._free_slot(call)
            self.gate.release()

    def _free_slot(self, call: StageCall) -> None:
        if call.holds:
            call.holds = False
            self._taken -= 1
            if call.blocked_at is not None:
                self._unblock(call, self._now())

    def _block(self, call: StageCall) -> None:
        """A result waits for room downstream, and holds the slot. A call that is not timed counts as 0 slots."""
        if call.weight:
            self._mark_blocked(call, self._now())

    def _mark_blocked(self, call: StageCall, now: float) -> None:
        if call.holds and call.blocked_at is None:
            call.blocked_at = now
            self._times.blocked.set(self._times.blocked.now + call.weight, now)

    def _unblock(self, call: StageCall, now: float) -> None:
        call.blocked_at = None
        self._times.blocked.set(self._times.blocked.now - call.weight, now)

    def _send(self, call: StageCall, value: Any) -> None:
        call.unsent -= 1
        self.emit(value)
        if call.inner is not None:
            self._next_value(call.inner, call)
        if call.finished and not call.unsent:
            self._free_slot(call)
            self.gate.release()

    def _next_value(self, inner: Gate, call: StageCall) -> None:
        """There is room for another value of an Observable."""
        inner.release()

    def free(self) -> None:
        """Cancel everything."""
        parked = 0 if self._keys is None else self._keys.clear()
        self._stats.discarded += len(self._waiting) + len(self._retries) + parked
        for timer in (self._timer, self._permit, self._stuck, self._retries):
            if timer is not None:
                timer.dispose()
        now, times = self._now(), self._times
        for call in self._running:
            call.end()
            if call.blocked_at is None:
                self._stats.busy += now - call.began
            self._count_usage(call)
            if call.handle is not None:
                call.is_ending = call.cancels
                self._stats.ending += call.is_ending
                guarded(call.handle.dispose)
        self._stats.cancelled += len(self._running)
        for level in (times.blocked, times.limited, times.held):
            level.set(0, now)
        for held in (self._waiting, self._running, self._order, self._outbox):
            if held is not None:
                held.clear()
        for runner in (self._runner, self._loop_runner):
            if runner is not None:
                runner.close()
