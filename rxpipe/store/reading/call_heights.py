"""How many calls ran at a time: means over equal parts of the time. Every second of every call counts once."""

from __future__ import annotations

from itertools import accumulate


class CallHeights:
    """Adds up the calls of one stage."""

    def __init__(self, since: float, seconds: float, parts: int) -> None:
        """Begin without calls.

        Args:
            since: The beginning of the time, in seconds.
            seconds: The length of the time, in seconds.
            parts: How many parts the time has.
        """
        self._since, self._parts = since, parts
        self._scale = parts / seconds
        self._inside = [0.0] * (parts + 1)  # shares of calls that began or ended within a part
        self._changes = [0] * (parts + 1)  # changes of the number of calls that ran during the whole part

    def add(self, began: float, seconds: float) -> None:
        """Add a call. Only the part of the call within the time counts."""
        start = min(max(0.0, (began - self._since) * self._scale), self._parts)
        end = min(max(0.0, (began + seconds - self._since) * self._scale), self._parts)
        first, last = int(start), int(end)
        if first == last:
            self._inside[first] += end - start
            return
        self._inside[first] += first + 1 - start
        self._inside[last] += end - last
        self._changes[first + 1] += 1
        self._changes[last] -= 1

    def means(self) -> tuple[float, ...]:
        """Returns the mean number of running calls in each part."""
        whole = accumulate(self._changes)
        return tuple(inside + level for inside, level in zip(self._inside, whole, strict=True))[: self._parts]
