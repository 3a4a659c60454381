"""The messages about a run to systemd, and when they are sent."""

from __future__ import annotations

import time
from collections.abc import Callable

from rxpipe.insight.snapshot import Snapshot
from rxpipe.service.health import HealthWatch, RunHealth
from rxpipe.service.systemd import NotifySocket, extend, status

_SECONDS = 5.0  # most seconds between two messages
_MARGIN = 30.0  # seconds that each message gives a starting or stopping process


class Notifying:
    """Tells the service manager when the run begins, its health, and when it stops.

    Attributes:
        seconds: Most seconds between two messages.
    """

    def __init__(self, to: NotifySocket, health: HealthWatch, *, now: Callable[[], float] = time.monotonic) -> None:
        """Send nothing yet.

        Args:
            to: The socket of the service manager.
            health: Watches the run.
            now: A monotonic clock, in seconds.
        """
        self._to = to
        self._health = health
        self._now = now
        self._is_ready = self._is_stopping = False
        self._told: str | None = None
        self._told_at = 0.0
        # systemd recommends half of the time, which leaves room for a late thread.
        self.seconds = _SECONDS if to.watchdog is None else min(_SECONDS, to.watchdog / 2)

    def begin(self) -> None:
        """Report that the run has begun."""
        if not self._is_ready:
            self._is_ready = True
            self._to.send("READY=1", status("running"))

    def tick(self, found: RunHealth) -> None:
        """Report the health of the run, if a message is due or the status has changed.

        Call this more often than ``seconds``.

        A stalled run gives no sign of life, and gets no more time to stop.

        Args:
            found: The health that was just found.
        """
        now = self._now()
        if found.status == self._told and now - self._told_at < self.seconds:
            return
        self._told, self._told_at = found.status, now
        messages = [status(_text(found, self._health.latest))]
        is_well = found.status != "stalled"
        if self._to.watchdog is not None and self._is_ready and is_well:
            messages.append("WATCHDOG=1")
        if self._health.is_draining and not self._is_stopping:
            self._is_stopping = True
            messages.append("STOPPING=1")
        if (self._is_stopping or not self._is_ready) and is_well:
            messages.append(extend(_MARGIN))
        self._to.send(*messages)

    def end(self) -> None:
        """Report that all is over; the process is about to end."""
        if not self._is_stopping:
            self._is_stopping = True
            self._to.send("STOPPING=1")


def _text(found: RunHealth, snapshot: Snapshot | None) -> str:
    text = ": ".join(filter(None, [found.status, found.reason]))
    if snapshot is None:
        return text
    return f"{text} ({snapshot.written} written, {snapshot.failed} failed, {snapshot.in_flight} in flight)"
