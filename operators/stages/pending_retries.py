"""The next attempts after failed ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from reactivex.abc import DisposableBase

from ..core.clock import Clock
from .call import StageCall


class Retries:
    """The next attempts at items: those with a running delay, and those that are due.

    Attributes:
        due: The attempts that are due, in order.
    """

    def __init__(self, clock: Clock, post: Callable[..., None]) -> None:
        self.due: OrderedDict[StageCall, None] = OrderedDict()
        self._delayed: dict[StageCall, DisposableBase] = {}
        self._clock = clock
        self._post = post

    def __len__(self) -> int:
        return len(self.due) + len(self._delayed)

    def __iter__(self) -> Iterator[StageCall]:
        return iter((*self._delayed, *self.due))

    def delayed(self) -> list[StageCall]:
        """Returns the attempts that are not due. From any thread."""
        return list(self._delayed)

    def add(self, call: StageCall, seconds: float) -> None:
        """Make a call due after a delay in seconds."""
        call.due_at = self._clock.now() + seconds
        self._delayed[call] = self._clock.call_later(seconds, lambda: self._post(self._delay_over, call))

    def _delay_over(self, call: StageCall) -> None:
        if self._delayed.pop(call, None) is not None:
            self.due[call] = None
            if call.queued_at is not None:
                call.queued_at = self._clock.now()

    def put_first(self, call: StageCall) -> None:
        """Make a call due now, before all others."""
        self.due[call] = None
        self.due.move_to_end(call, last=False)

    def take(self) -> StageCall:
        """Take the first attempt that is due."""
        return self.due.popitem(last=False)[0]

    def take_all(self, item: Any) -> list[StageCall]:
        """Take all calls for an item, due or not."""
        taken = [call for call in (*self._delayed, *self.due) if call.item is item]
        for call in taken:
            self.due.pop(call, None)
            if timer := self._delayed.pop(call, None):
                timer.dispose()
        return taken

    def dispose(self) -> None:
        """Forget all."""
        for timer in self._delayed.values():
            timer.dispose()
        self._delayed.clear()
        self.due.clear()
