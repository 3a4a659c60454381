"""Backpressure: the gate between an operator and its source.

An operator that holds items puts its gate into a context variable while it subscribes to its source. The nearest
stage or source upstream finds the gate there, through any synchronous operators between (``map``, ``filter``,
``buffer``), and asks the gate before each emission. An item counts as admitted when it is handed over, not when its
message is handled. So the bound is exact.

If several branches feed one gate (a ``merge``), each must reserve its place, since an item may be filtered out on its
way::

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
    """Counts the items that an operator holds. The gate is closed while there is no room for another item.

    Attributes:
        capacity: The most items that may be held; ``math.inf`` for no bound.
        admitted: Items handed over so far. Written by the senders, one at a time, as Rx demands.
        released: Items no longer held. Written by the operator alone.
        waiting: The callbacks of senders that wait for room.
        shared: True if more than one operator upstream asks the gate.
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
            capacity: The most items that may be held; ``math.inf`` for no bound.
            slack: Places that must be free before a waiting sender is woken, at most ``capacity``. Waking for several
                places costs one message instead of several, as with the batched requests of Reactive Streams.
            depth: Operators with a gate from here on downstream.
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
        """Change the capacity. If more items are held, they stay."""
        self.capacity = capacity
        self._reopen = capacity - self._slack

    @property
    def held(self) -> int:
        """Items held now."""
        return self.admitted - self.released

    @property
    def has_room(self) -> bool:
        """True if there is room for an item now."""
        return self.admitted - self.released < self.capacity

    def take(self) -> None:
        """Note that another operator upstream will ask this gate."""
        with self._lock:
            self._takers += 1
            self.shared = self._takers > 1

    def wait(self, wake: Wake) -> bool:
        """Returns True if there is room by now. If not, ``wake`` is called when there may be room."""
        with self._lock:
            self.waiting[wake] = None  # before looking again, so that a release that comes now sees it
            if self.admitted - self.released + self._entering >= self.capacity:
                return False
            self.waiting.pop(wake, None)
            return True

    def enter(self, wake: Wake) -> bool:
        """Reserve a place in a shared gate.

        Returns False if there is none; then ``wake`` is called when there may be one.
        """
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
        """Count an item that is no longer held."""
        self.released += 1
        if self.waiting and self.admitted - self.released <= self._reopen:
            self.open()

    def open(self) -> None:
        """Wake the waiting senders, if there is room. They are called on this thread, without a lock."""
        with self._lock:
            if self.admitted - self.released + self._entering >= self.capacity:
                return
            waiting, self.waiting = self.waiting, {}
        for wake in waiting:
            wake()


class _Announcement:
    """The content of the context variable.

    It is emptied when the subscribing ends. Timers and callbacks that were made meanwhile keep a copy of the context.
    Their later subscriptions must not find this gate.
    """

    __slots__ = ("gate",)

    def __init__(self, gate: Gate | None) -> None:
        self.gate = gate


_announced: ContextVar[_Announcement | None] = ContextVar("rxpipe_gate", default=None)


def announced_gate() -> Gate | None:
    """Returns the gate of the nearest operator downstream, while it subscribes. Users of the gate must ``take`` it."""
    announcement = _announced.get()
    return None if announcement is None else announcement.gate


@contextmanager
def announcing(gate: Gate | None) -> Generator[None]:
    """Let subscriptions inside find ``gate``; ``None`` hides the gates further downstream."""
    announcement = _Announcement(gate)
    token = _announced.set(announcement)
    try:
        yield
    finally:
        _announced.reset(token)
        announcement.gate = None
