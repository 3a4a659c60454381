"""Addresses to listen at: ``HOST:PORT``."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from rxpipe.errors import ConfigError

_HIGHEST = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen at.

    Attributes:
        host: A name or an address; IPv6 without brackets.
        port: The port; 0 for any free one.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, option: str) -> Address:
        """Returns the address of a text like ``127.0.0.1:9464``, ``localhost:0`` or ``[::1]:9464``.

        Args:
            text: The text.
            option: The option that it was given for, for the message.

        Raises:
            ConfigError: The text is no such address.
        """
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ConfigError(f"{option}: given {text!r}; an IPv6 address stands in brackets, as in [::1]:9464")
        is_port = port.isascii() and port.isdecimal() and len(port) < 6 and int(port) <= _HIGHEST
        if not (host and colon and is_port):
            raise ConfigError(f"{option}: given {text!r}; allowed: HOST:PORT, as in 127.0.0.1:9464")
        return cls(host, int(port))

    def listen(self, option: str) -> socket.socket:
        """Listen at the address.

        Raises:
            ConfigError: The address does not belong to this machine, or the port is taken.
        """
        try:
            family = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((self.host, self.port), family=family, backlog=64)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of the name is too long
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            # Newer versions of Python repeat the address.
            raise ConfigError(f"{option}: cannot listen at {self}: {reason.partition(' (while')[0]}") from None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
