"""``ordered``: the order of a stage's items."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any

from .call import StageCall, Turn

_MANY = 1_000  # values of an Observable that wait for their turn


class Order:
    """The turns of the items that a stage holds, the first one in front."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque()

    def enter(self, call: StageCall) -> None:
        """Give a new item the last turn."""
        call.turn = Turn(call)
        self._turns.append(call.turn)

    @property
    def first(self) -> StageCall:
        """Returns the latest call of the item whose turn it is."""
        return self._turns[0].call

    def release(self, outbox: deque[tuple[StageCall, Any]]) -> None:
        """Move the results whose turn has come to the outbox."""
        while self._turns:
            first = self._turns[0]
            while first.results:
                outbox.append(first.results.popleft())
            if not first.finished:
                return
            self._turns.popleft()

    def make_way(self, running: Collection[StageCall]) -> bool:
        """Let Observables that wait for their turn emit more values, if no other call runs.

        Returns:
            True if each has emitted many values without completing, so that waiting longer does not help.
        """
        pausing = [(call, call.inner) for call in running if call.inner is not None and call.unsent]
        if len(pausing) < len(running):
            return False
        for _, gate in pausing:
            if gate.capacity < _MANY:
                gate.resize(_MANY)
                gate.open()
        return all(call.unsent >= _MANY for call, _ in pausing)

    def clear(self) -> None:
        """Forget all."""
        self._turns.clear()
