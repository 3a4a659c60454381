"""systemd's notify protocol: lines of text in a datagram to the socket that ``NOTIFY_SOCKET`` names.

See https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

_SENDING = 1.0  # seconds that a full queue of the receiver may hold up the sender
_LONGEST = 500  # characters of a status


@dataclass(frozen=True, slots=True)
class NotifySocket:
    """The socket for notifications.

    Attributes:
        path: A path, or ``@`` and an abstract name.
        watchdog: Seconds within which the service manager wants a sign of life; None if it wants none.
    """

    path: str
    watchdog: float | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> NotifySocket | None:
        """Returns this process's socket; None if nobody wants notifications, or not by a socket of this kind."""
        path = environment.get("NOTIFY_SOCKET", "")
        if path[:1] not in ("/", "@") or not hasattr(socket, "AF_UNIX"):
            return None
        return cls(path, _watchdog(environment))

    def send(self, *assignments: str) -> None:
        """Send assignments, such as ``READY=1``, as one datagram. A receiver that is gone is no error."""
        name = f"\0{self.path[1:]}" if self.path.startswith("@") else self.path
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(_SENDING)
            sender.connect(name)
            sender.sendall("\n".join(assignments).encode("utf-8", "replace"))


def status(text: str) -> str:
    """Returns the line that ``systemctl status`` shows."""
    line = " ".join(text.split())
    return f"STATUS={line[:_LONGEST]}"


def extend(seconds: float) -> str:
    """Returns a request for ``seconds`` more, from now on, to start or to stop."""
    return f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Returns the seconds within which a sign of life is wanted of this process (not of its parent), or None."""
    whose, microseconds = environment.get("WATCHDOG_PID", ""), environment.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdecimal() and int(microseconds)):
        return None
    return None if whose and whose != str(os.getpid()) else int(microseconds) / 1e6
