"""``key``: at most one call per key at a time, in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from ..errors import WrongResult, kind_name
from .call import StageCall


class KeyOrder:
    """The keys of the items that a stage holds. A key without items takes no memory."""

    def __init__(self, key: Callable[[Any], Hashable], name: str) -> None:
        self._key, self._name = key, name
        self._lines: dict[Hashable, deque[StageCall]] = {}  # for each key, the calls that wait behind the first

    def may_begin(self, call: StageCall) -> bool:
        """Returns True if a new item is the first of its key. If not, ``ended`` returns the item when its turn comes.

        Raises:
            WrongResult: The key cannot be hashed.
            Exception: The error of the user's ``key`` function.
        """
        key = self._key(call.item)
        try:
            line = self._lines.get(key)
        except TypeError:
            what = f"key gave a {kind_name(key)}, which cannot be hashed; return text, a number or a tuple of them"
            raise WrongResult(f"{self._name}: {what}") from None
        call.key = key
        if line is None:
            call.line = self._lines[key] = deque()
            return True
        call.line = line
        line.append(call)
        return False

    def ended(self, call: StageCall) -> StageCall | None:
        """The last call for an item has ended. Returns the next item of the same key, if there is one."""
        line = call.line
        if line is None:
            return None
        if line:
            return line.popleft()
        if self._lines.get(call.key) is line:
            del self._lines[call.key]
        else:  # the function has changed the key's hash
            self._lines = {key: other for key, other in self._lines.items() if other is not line}
        return None

    def remove(self, call: StageCall) -> bool:
        """Take out an item that waits for an earlier item. Returns False if it does not wait here."""
        if call.line is None or call not in call.line:
            return False
        call.line.remove(call)
        call.line = None
        return True

    def clear(self) -> int:
        """Forget all keys. Returns the number of waiting items."""
        count = sum(map(len, self._lines.values()))
        self._lines.clear()
        return count
