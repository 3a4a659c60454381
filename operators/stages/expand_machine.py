"""One subscription to a stage with ``expand``: each value of a call goes on separately."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from reactivex import Observable

from ..core.gate import Gate
from .call import StageCall
from .settings import KEPT
from .stage_machine import StageMachine

A = TypeVar("A")
B = TypeVar("B")


class ExpandStageMachine(StageMachine[A, B]):
    """Runs calls that give many values. A call keeps its slot until its last value has gone downstream.

    The timeout applies to each value.
    """

    __slots__ = ("_many",)

    def __init__(self, *args: Any, many: Callable[[Any, StageCall], Observable[Any]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._many = many

    def _how_to_follow(self, kind: type[Any]) -> Callable[[StageCall, Any], None] | None:
        follow = super()._how_to_follow(kind)
        return follow if follow in (self._await, self._decide) else self._expand

    def _expand(self, call: StageCall, values: Any) -> None:
        try:
            source = self._many(values, call)
            if self._envelope is not None:
                if isinstance(values, Collection):
                    self._count_usage(call)
                self._envelope.begin_many(call.item, values)
        except Exception as error:  # noqa: BLE001 - not many values, or what a foreign class raises when it is asked
            self._stop_running(call)
            self._free_slot(call)
            self._failed(call, error)
            return
        self._context.copy().run(call.subscribe_to, source, self._scheduler)

    def inner_next(self, call: StageCall, value: Any) -> None:
        """The function gave a value."""
        if not call.live:
            return
        self._pause(call)
        try:
            child = value if self._envelope is None else self._envelope.spawn(call.item, value)
        except Exception as error:  # noqa: BLE001 - the value cannot be an item: that is how the call fails
            self._end_early(call, error)
            return
        if child is not KEPT:
            self._result(call, child)
        elif call.inner is not None:
            self._next_value(call.inner, call)

    def _pause(self, call: StageCall) -> None:
        """The call pauses until its values have gone downstream. An Observable may still give several values."""
        if call.blocked_at is not None:
            return
        self.held(call)
        now = self._now()
        self._mark_blocked(call, now)
        seconds = now - call.began
        self._stats.busy += seconds
        call.spent += seconds
        if call.first_began is None:
            call.first_began = call.began

    def _inner_completed(self, call: StageCall) -> None:
        if self._envelope is not None:
            self._result(call, self._envelope.expanded(call.item))

    def _next_value(self, inner: Gate, call: StageCall) -> None:
        if call.live and call.blocked_at is not None and not call.unsent:
            call.began = now = self._now()
            self._unblock(call, now)
            if self._timeout is not None:
                self.begun(call)
        inner.release()

    def _may_pass(self) -> bool:
        """Move the first result that may go downstream to the front. Returns False if there is none."""
        assert self._envelope is not None
        for place, result in enumerate(self._outbox):
            if self._envelope.may_pass(result[1], self._woken):
                del self._outbox[place]
                self._outbox.appendleft(result)
                return True
        return False
