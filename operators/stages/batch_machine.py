"""One subscription to a stage with ``batch``: items wait for each other and share a call."""

from __future__ import annotations

from typing import Any, TypeVar

from reactivex.abc import DisposableBase, ObserverBase

from .batch_call import BatchCall, is_failure, results_of, shares
from .call import TICK, StageCall
from .retry_policy import uses_attempt
from .settings import Decision, Settings
from .stage_machine import StageMachine

A = TypeVar("A")
B = TypeVar("B")


class BatchStageMachine(StageMachine[A, B]):
    """Runs calls for many items, one slot each. Each item waits, is tried again, and goes on separately."""

    def __init__(self, settings: Settings[A, B], observer: ObserverBase[B], **options: Any) -> None:
        super().__init__(settings, observer, **options)
        assert settings.batch is not None
        self._batch = settings.batch
        self._batch_timer: DisposableBase | None = None
        self._open = self._open_all

    # Items come in, and calls start

    def arrive(self, value: A) -> None:
        """Queue an item, and note the time."""
        super().arrive(value)
        if self._waiting and self._waiting[-1].waits_since is None:
            self._waiting[-1].waits_since = self._now()

    def _start_calls(self) -> None:
        while self._taken < self._stuck.slots and not self.over and (self._due_again or self._is_due()):
            if self._may_begin is not None and not self._is_let_begin(self._may_begin):
                break
            if self._waits_for_item_rate():
                continue
            if self._permit is not None and not self._is_permitted(self._permit):
                return  # the list is made when the permit has come, so items that arrive meanwhile get into it
            self._start(self._next_batch(), self._permit)
        if self._permit is not None:
            self._permit.drop()

    def _is_due(self) -> bool:
        """Returns True if a new call is due: its list is full, or its first item has waited ``max_seconds``."""
        if not self._waiting:
            return False
        if self.source_done or len(self._waiting) >= self._batch.max_items:
            return True
        first, now = self._waiting[0], self._now()
        if first.waits_since is None:  # it waited for an earlier item with its key
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

    def _waits_for_item_rate(self) -> bool:
        """Make the next list if items have a limit. Returns True if the list has to wait for the limit."""
        if self._batch.item_rate is None:
            return False
        batch = self._next_batch()
        wait = 0.0 if batch.is_paid else self._batch.item_rate.reserve(self._now(), len(batch.members))
        batch.is_paid = True
        if wait > 0:
            self._retries.add(batch, wait)
        else:
            self._retries.put_first(batch)
        return wait > 0

    def _open_all(self, item: Any, call: StageCall) -> Any:
        if not isinstance(call, BatchCall):  # the call of an item that is given up: open() raises
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
        """Take an item out of its call; the other items go on. If it was the last item, the call ends, too."""
        batch, member = self._member_of(call.item)
        if self.over or batch is None or member is None:
            super().give_up(call, error)
            return
        batch.remove(member)
        if batch not in self._running:
            self._stats.started += 1
            if not batch.members:
                self._retries.take_all(batch.item)
        elif not batch.members:
            self._end_early(batch, error)
        self._failed_for_good(member, error)

    def _member_of(self, item: Any) -> tuple[BatchCall | None, StageCall | None]:
        """Returns the batch call that runs or waits with an item, and the item's member of the call; else None."""
        for batch in (*self._running, *self._retries):
            if isinstance(batch, BatchCall):
                for member in batch.members:
                    if member.item is item:
                        return batch, member
        return None, None

    # Calls end

    def returned(self, call: StageCall, ok: bool, result: Any) -> None:
        """The function returned, or raised."""
        if not (ok and isinstance(call, BatchCall) and call.live) or self.over:
            super().returned(call, ok, result)
            return
        try:
            is_awaited = self._follows[type(result)] == self._await
            results = None if is_awaited else results_of(result, len(call.expected), self.settings.name)
        except Exception as error:  # noqa: BLE001 - no list of results, or what a foreign class raises: all items fail
            super().returned(call, False, error)
            return
        if results is None:
            super().returned(call, ok, result)
        else:
            self._have_results(call, results)

    def _have_results(self, call: BatchCall, results: list[Any]) -> None:
        self._stop_running(call)
        if not call.members:
            super()._free_slot(call)
        for member, result in zip(call.expected, results, strict=True):
            if member not in call.members:  # the item was given up meanwhile
                continue
            if is_failure(result):
                self._failed(member, result)
            else:
                self._result(member, self._closed(member, result))
                self._finish(member)
        if self._adapting is not None and not call.is_pushed_back:
            self._adapting.succeeded(self._now(), call.began, len(self._running) + 1)

    def _closed(self, member: StageCall, result: Any) -> Any:
        if self._envelope is not None and issubclass(type(result), Decision):
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

    def _pushed_back(self, call: StageCall, error: BaseException) -> None:
        """Tell the adaptive concurrency once that the server has refused a call, however many items were refused."""
        batch = call if isinstance(call, BatchCall) else call.batch
        if not batch.is_pushed_back:
            batch.is_pushed_back = True
            super()._pushed_back(batch, error)

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
        """Free the slot of a batch call when the last of its results has gone downstream."""
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
        self._stats.cancelled += sum(map(_further_items, self._running))
        self._stats.discarded += sum(map(_further_items, self._retries))
        super().free()


def _further_items(call: StageCall) -> int:
    """Returns the number of items of a call after the first."""
    return len(call.members) - 1 if isinstance(call, BatchCall) else 0


class _NoItemLeft(Exception):
    is_final = True
