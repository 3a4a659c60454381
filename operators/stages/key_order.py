"""``key``: at most one call per key at a time, in the order in which the items came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from ..errors import WrongResult, kind_name
from .call import StageCall


class KeyOrder:
    """The keys of the items that a stage holds. A key of which it holds none takes no memory."""

    def __init__(self, key: Callable[[Any], Hashable], name: str) -> None:
        self._key, self._name = key, name
        self._parked: dict[Hashable, deque[StageCall]] = {}  # behind the first of each key

    def may_begin(self, call: StageCall) -> bool:
        """Whether a new item waits for no other of its key; if it does, ``ended`` gives it later.

        Raises:
            WrongResult: The key cannot be hashed.
            Exception: Whatever the user's function raises.
        """
        key = self._key(call.item)
        try:
            parked = self._parked.get(key)
        except TypeError:
            what = f"key gave a {kind_name(key)}, which cannot be hashed; return text, a number or a tuple of them"
            raise WrongResult(f"{self._name}: {what}") from None
        if parked is None:
            self._parked[key] = deque()
        else:
            parked.append(call)
        call.key, call.is_keyed = key, True
        return parked is None

    def ended(self, call: StageCall) -> StageCall | None:
        """The next item of the key, once the last call of the first has ended."""
        if not call.is_keyed:
            return None
        parked = self._parked[call.key]
        if parked:
            return parked.popleft()
        del self._parked[call.key]
        return None

    def remove(self, call: StageCall) -> bool:
        """Whether an item waited here; then it waits no more."""
        parked = self._parked.get(call.key) if call.is_keyed else None
        if parked is None or call not in parked:
            return False
        parked.remove(call)
        call.is_keyed = False
        return True

    def clear(self) -> int:
        """Forget all; returns how many waited."""
        count = sum(map(len, self._parked.values()))
        self._parked.clear()
        return count
