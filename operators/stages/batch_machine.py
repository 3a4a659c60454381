"""One subscription to a stage with ``batch``: items wait for each other, and share a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from reactivex.abc import DisposableBase, ObserverBase

from ..errors import WrongResult, kind_name
from .batch_call import BatchCall, shares
from .call import TICK, StageCall
from .retry_policy import uses_attempt
from .settings import Decision, Settings
from .stage_machine import StageMachine

A = TypeVar("A")
B = TypeVar("B")


class BatchStageMachine(StageMachine[A, B]):
    """A slot is that of a call for many items; each of these waits, is tried again, and goes on by itself."""

    def __init__(self, settings: Settings[A, B], observer: ObserverBase[B], **options: Any) -> None:
        super().__init__(settings, observer, **options)
        assert settings.batch is not None
        self._batch = settings.batch
        self._batch_timer: DisposableBase | None = None
        self._open = self._open_all

    # Items come in, and calls start

    def arrive(self, value: A) -> None:
        """Queue an item, and note since when."""
        super().arrive(value)
        if self._waiting and self._waiting[-1].waits_since is None:
            self._waiting[-1].waits_since = self._now()

    def _start_calls(self) -> None:
        while self._taken < self._stuck.slots and not self.over:
            if not (self._due_again or self._is_due()):
                break
            if self._may_begin is not None and not self._may_begin(self._woken):
                break
            batch = self._next_batch()
            if self._is_held_back(batch):
                continue
            if not (self._permit is None or self._permit.take()):
                self._due_again[batch] = None
                self._due_again.move_to_end(batch, last=False)
                return
            self._start(batch, self._permit)
        if self._permit is not None:
            self._permit.drop()

    def _is_due(self) -> bool:
        """Whether a new call is to begin: its list is full, or the first of it has waited long enough."""
        if not self._waiting:
            return False
        if self.source_done or len(self._waiting) >= self._batch.max_items:
            return True
        first, now = self._waiting[0], self._now()
        if first.waits_since is None:  # it waited for another one of its key
            first.waits_since = now
        left = first.waits_since + self._batch.max_seconds - now
        if left <= TICK:
            return True
        if self._batch_timer is None:
            self._batch_timer = self.clock.call_later(left, lambda: self.post(self._time_is_up))
        return False

    def _time_is_up(self) -> None:
        self._batch_timer = None

    def _next_batch(self) -> BatchCall:
        most = self._batch.max_items
        if not self._due_again:
            return BatchCall(self, [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))])
        first = self._retries.take()
        if isinstance(first, BatchCall):
            return first
        members = [first]
        while self._due_again and len(members) < most and not isinstance(next(iter(self._due_again)), BatchCall):
            members.append(self._retries.take())
        return BatchCall(self, members)

    def _is_held_back(self, batch: BatchCall) -> bool:
        """Whether the limit of items has it wait; then it is due again when that is over."""
        if self._batch.item_rate is None or batch.is_paid:
            return False
        batch.is_paid = True
        wait = self._batch.item_rate.reserve(self._now(), len(batch.members))
        if wait > 0:
            self._retries.add(batch, wait)
        return wait > 0

    def _open_all(self, item: Any, call: StageCall) -> Any:
        if not isinstance(call, BatchCall):  # of an item that is given up: it raises
            return item if self._envelope is None else self._envelope.open(item, call)
        self._stats.started += len(call.members) - 1
        call.expected = tuple(call.members)
        if self._envelope is None:
            return call.item
        values: list[Any] = []
        refused: list[tuple[StageCall, Exception]] = []
        for member in call.members:
            try:
                values.append(self._envelope.open(member.item, member))
            except Exception as error:  # noqa: BLE001 - cancelled, or the run is to stop: this item's alone
                refused.append((member, error))
        for member, refusal in refused:
            call.remove(member)
            self._failed_for_good(member, refusal)
        if not values:
            raise _NoItemLeft
        call.expected = tuple(call.members)
        return values

    # Calls are ended early

    def give_up(self, call: StageCall, error: Exception) -> None:
        """Of a call for many items, leave one out; the others go on. If it was the last one, the call ends, too."""
        batch = call.batch
        waiting = [one for one in (*self._running, *self._retries) if isinstance(one, BatchCall)]
        for one in waiting:
            batch = one if any(member.item is call.item for member in one.members) else batch
        if self.over or batch is None or batch not in waiting:
            super().give_up(call, error)
            return
        member = next(each for each in batch.members if each.item is call.item)
        batch.remove(member)
        if batch not in self._running:
            self._stats.started += 1
            if not batch.members:
                self._retries.take_all(batch.item)
        elif not batch.members:
            self._end_early(batch, error)
        self._failed_for_good(member, error)

    # Calls end

    def returned(self, call: StageCall, ok: bool, result: Any) -> None:
        """The function returned, or raised."""
        is_batch = isinstance(call, BatchCall) and call.live and not self.over
        given: object = result
        if not (ok and is_batch) or (hasattr(type(given), "__await__") and not self._runner.cancels):
            super().returned(call, ok, result)
            return
        assert isinstance(call, BatchCall)
        results: Any = result
        is_list = isinstance(given, Sequence) and not isinstance(given, (str, bytes))
        if not is_list or len(results) != len(call.expected):
            what = f"a list of {len(results)}" if is_list else kind_name(result)
            error = WrongResult(
                f"{self.settings.name}: the function got a list of {len(call.expected)} values, and returned {what}; "
                "return a list with one result for each value, in the same order"
            )
            super().returned(call, False, error)
            return
        self._stop_running(call)
        if self._adapting is not None:
            self._adapting.succeeded(self._now(), call.began, len(self._running) + 1)
        if not call.members:
            super()._free_slot(call)
        for member, one in zip(call.expected, results, strict=True):
            if member not in call.members:  # it was given up meanwhile
                continue
            if isinstance(one, BaseException) and not isinstance(one, Decision):
                self._failed(member, one)
                continue
            self._result(member, self._closed(member, one))
            self._finish(member)

    def _closed(self, member: StageCall, result: Any) -> Any:
        if self._envelope is not None and isinstance(result, Decision):
            return self._envelope.decide(member.item, result)
        self._stats.done += 1
        return result if self._envelope is None else self._envelope.close(member.item, result)

    def _count_usage(self, call: StageCall) -> None:
        if not isinstance(call, BatchCall):
            super()._count_usage(call)
        elif (usage := call.take_usage()) is not None:
            self._stats.usage += usage
            if self._envelope is not None:
                for member, share in zip(call.expected, shares(usage, len(call.expected)), strict=True):
                    self._envelope.used(member.item, member.attempt, share)

    def _failed(self, call: StageCall, error: BaseException) -> None:
        if isinstance(call, BatchCall) and ((call.is_part and uses_attempt(error)) or not call.members):
            self._failed_for_good(call, error)
        else:
            super()._failed(call, error)

    def _failed_for_good(self, call: StageCall, error: BaseException) -> None:
        if not isinstance(call, BatchCall):
            super()._failed_for_good(call, error)
        elif len(call.members) < 2 or getattr(error, "is_final", False):
            for member in list(call.members):
                super()._failed_for_good(member, error)
        else:
            for part in call.parts(error):
                self._retries.add(part, 0.0)
            self._tell_again(call, error)

    def _try_again(self, call: StageCall, error: BaseException) -> None:
        if not isinstance(call, BatchCall):
            self._free_slot(call)
            super()._try_again(call, error)
            return
        again, delay = call.following(error)
        self._retries.add(again, delay)
        self._tell_again(call, error)

    def _tell_again(self, call: BatchCall, error: BaseException) -> None:
        if self._envelope is not None:
            for member in call.members:
                self._envelope.again(member.item, member.attempt, error)

    def _free_slot(self, call: StageCall) -> None:
        """The slot of a call for many is free when the last of its results has gone downstream."""
        batch = call.batch
        if batch is None:
            super()._free_slot(call)
        else:
            batch.left.discard(call)
            if not batch.left:
                super()._free_slot(batch)

    def free(self) -> None:
        """Cancel everything."""
        if self._batch_timer is not None:
            self._batch_timer.dispose()
        calls = [call for call in (*self._running, *self._retries) if isinstance(call, BatchCall)]
        extra = [len(call.members) - 1 for call in calls]
        running = sum(len(call.members) - 1 for call in self._running if isinstance(call, BatchCall))
        self._stats.cancelled += running
        self._stats.discarded += sum(extra) - running
        super().free()


class _NoItemLeft(Exception):
    is_final = True
