"""A server that falls silent, or refuses connections: what stands between it and its clients does so."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress

from sqlalchemy import URL


class Proxy:
    """Passes bytes on between clients and a server, until it is told not to.

    Attributes:
        port: Where it listens, on the loopback address.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listen."""
        self._server = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._others: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._may_pass = threading.Event()
        self._may_pass.set()
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._thread.start()

    def fall_silent(self) -> None:
        """Pass nothing on from now on; connections stay, and new ones get no answer."""
        self._may_pass.clear()

    def answer(self) -> None:
        """Pass on what came meanwhile, and what comes."""
        self._may_pass.set()

    def close(self) -> None:
        """Cut all connections, and refuse new ones; nothing if that is done."""
        if self._is_over:
            return
        self._is_over = True
        self._may_pass.set()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port)).close()  # wakes the thread
        self._thread.join()
        for one in [self._listener, *self._others]:
            one.close()
        self._selector.close()

    def _serve(self) -> None:
        while not self._is_over:
            for key, _ in self._selector.select():
                self._may_pass.wait()
                if not self._is_over:
                    self._accept() if key.fileobj is self._listener else self._pass_on(key.fileobj)  # type: ignore[arg-type]  # a socket

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._server)
        self._others |= {client: server, server: client}
        for one in (client, server):
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        if one not in self._others:
            return  # closed with the other, just now
        other = self._others[one]
        with suppress(OSError):
            if data := one.recv(65536):
                other.sendall(data)
                return
        for end in (one, other):
            del self._others[end]
            self._selector.unregister(end)
            end.close()


@contextmanager
def proxied(url: URL) -> Generator[tuple[Proxy, URL]]:
    """A proxy before the server of a database, and the database's URL through it."""
    proxy = Proxy(url.host or "127.0.0.1", url.port or 5432)
    try:
        yield proxy, url.set(host="127.0.0.1", port=proxy.port)
    finally:
        proxy.close()
