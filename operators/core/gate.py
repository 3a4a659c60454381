"""Backpressure: the gate between an operator and whatever feeds it.

An operator that holds items puts its gate into a context variable while it subscribes to its source. The nearest
stage or source upstream finds it there, through any synchronous operators between (``map``, ``filter``,
``buffer``), and asks it before each emission. Admission is counted when an item is handed over, not when its
message is handled, so the bound is exact.

Where several branches feed one gate (a ``merge``), each must reserve its place, as an item that was filtered out on
its way may not arrive::

    gate.enter(wake)   # a place is reserved, or ``wake`` is called once when one may be free
    on_next(value)     # counted as admitted, if it arrives
    gate.leave()       # the reservation ends
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

Wake = Callable[[], None]


class Gate:
    """Counts the items that an operator holds, and is closed while there is no room for another.

    Attributes:
        capacity: How many items may be held; ``math.inf`` for no bound.
        admitted: Items handed over so far; written by whoever hands them over, one at a time, as Rx demands.
        released: Items no longer held; written by the operator alone.
        waiting: Whom to wake when there may be room.
        shared: Whether more than one operator upstream asks it.
    """

    __slots__ = (
        "_entering",
        "_lock",
        "_reopen",
        "_slack",
        "_takers",
        "admitted",
        "capacity",
        "depth",
        "released",
        "shared",
        "waiting",
    )

    def __init__(self, capacity: float, slack: int = 1, *, depth: int = 1) -> None:
        """Make an open gate.

        Args:
            capacity: How many items may be held; ``math.inf`` for no bound.
            slack: How many places must be free before whoever found the gate closed is woken, at most ``capacity``.
                Several at a time cost one message instead of one each, as where Reactive Streams request in batches.
            depth: How many operators with a gate there are from here on downstream.
        """
        self._slack = slack
        self.depth = depth
        self.resize(capacity)
        self.admitted = 0
        self.released = 0
        self.waiting: dict[Wake, None] = {}
        self.shared = False
        self._entering = 0
        self._takers = 0
        self._lock = threading.Lock()

    def resize(self, capacity: float) -> None:
        """Hold so many from now on; if there are more, they stay."""
        self.capacity = capacity
        self._reopen = capacity - self._slack

    @property
    def held(self) -> int:
        """Items held now."""
        return self.admitted - self.released

    @property
    def has_room(self) -> bool:
        """Whether there is room for an item now."""
        return self.admitted - self.released < self.capacity

    def take(self) -> None:
        """Note that one more operator upstream is going to ask."""
        with self._lock:
            self._takers += 1
            self.shared = self._takers > 1

    def wait(self, wake: Wake) -> bool:
        """Have ``wake`` called when there may be room; or give ``True`` if there is room by now."""
        with self._lock:
            self.waiting[wake] = None  # before looking again: a release that comes now sees it
            if self.admitted - self.released + self._entering >= self.capacity:
                return False
            self.waiting.pop(wake, None)
            return True

    def enter(self, wake: Wake) -> bool:
        """Reserve a place in a shared gate; if there is none, ``wake`` is called when there may be one."""
        with self._lock:
            if self.admitted - self.released + self._entering >= self.capacity:
                self.waiting[wake] = None
                return False
            self._entering += 1
            return True

    def leave(self) -> None:
        """End a reservation."""
        with self._lock:
            self._entering -= 1
        if self.waiting:
            self.open()

    def release(self) -> None:
        """Count an item as no longer held."""
        self.released += 1
        if self.waiting and self.admitted - self.released <= self._reopen:
            self.open()

    def open(self) -> None:
        """Wake whoever waits, if there is room; on this thread, under no lock."""
        with self._lock:
            if self.admitted - self.released + self._entering >= self.capacity:
                return
            waiting, self.waiting = self.waiting, {}
        for wake in waiting:
            wake()


class _Announcement:
    """What the context variable holds.

    It is emptied when the subscribing is over. Timers and callbacks that were made meanwhile keep a copy of the
    context; what they subscribe to later must not find this gate.
    """

    __slots__ = ("gate",)

    def __init__(self, gate: Gate | None) -> None:
        self.gate = gate


_announced: ContextVar[_Announcement | None] = ContextVar("rxpipe_gate", default=None)


def announced_gate() -> Gate | None:
    """The gate of the nearest operator downstream, while it subscribes. Whoever will ask the gate must ``take`` it."""
    announcement = _announced.get()
    return None if announcement is None else announcement.gate


@contextmanager
def announcing(gate: Gate | None) -> Generator[None]:
    """Let what is subscribed to inside find ``gate``; ``None`` hides the gates further downstream."""
    announcement = _Announcement(gate)
    token = _announced.set(announcement)
    try:
        yield
    finally:
        _announced.reset(token)
        announcement.gate = None
