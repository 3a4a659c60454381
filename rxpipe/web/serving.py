"""Serves the page: alone until Ctrl-C, or on a thread beside a run."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from rxpipe.errors import ConfigError
from rxpipe.web.access import LOOPBACK, is_loopback

PORT = 8765
_TRIED = 20  # ports to try if no port was given
_LEAVING = 2.0  # seconds that open requests get at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place where a page is served.

    Attributes:
        listening: The listening socket.
        host: The address of the socket.
        token: The token that a browser must show; None on loopback.
        allowed_hosts: Host names by which the page may be reached.
    """

    listening: socket.socket
    host: str
    token: str | None
    allowed_hosts: Sequence[str]

    @property
    def url(self) -> str:
        """The URL to open, with the token."""
        port = self.listening.getsockname()[1]
        name = socket.gethostname() if self.host in ("0.0.0.0", "::", "") else self.host
        name = f"[{name}]" if ":" in name else name
        return f"http://{name}:{port}/" + ("" if self.token is None else f"?token={self.token}")


def place(host: str = "127.0.0.1", port: int | None = None, names: Sequence[str] = ()) -> Place:
    """Listens at an address. Beyond loopback, a token is made.

    Args:
        host: The address.
        port: The port; None for the first free one from 8765 on.
        names: Further host names by which the page may be reached.

    Raises:
        ConfigError: The address cannot be used.
    """
    if is_loopback(host):
        if names:
            raise ConfigError("--allow-host is for a page beyond this machine: give --host, too")
        return Place(listening=_listen(host, port), host=host, token=None, allowed_hosts=[*LOOPBACK, host])
    # The token keeps strangers out. Another site's page under its own name has no cookie with the token.
    own = {host, socket.gethostname(), socket.getfqdn(), *_addresses(), *LOOPBACK, *names} - {"0.0.0.0", "::"}
    return Place(listening=_listen(host, port), host=host, token=secrets.token_urlsafe(24), allowed_hosts=sorted(own))


def _addresses() -> set[str]:
    try:
        return {str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return set()


def _listen(host: str, port: int | None) -> socket.socket:
    tried = range(PORT, PORT + _TRIED) if port is None else [port]
    refusal: Exception | None = None
    for one in tried:
        try:
            family = socket.getaddrinfo(host, one, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, one), family=family, backlog=256)
        except (OSError, OverflowError) as error:
            refusal = error
    raise ConfigError(f"the page cannot be served at {host}, port {tried[0]}: {refusal}")


def serve(app: ASGIApp, at: Place, *, ready: Callable[[], object] = lambda: None) -> None:
    """Serves the app until a signal comes.

    Raises:
        KeyboardInterrupt: The signal was Ctrl-C.
    """
    server = _server(app)
    asyncio.run(_serve(server, at, ready))


@contextmanager
def served(app: Starlette, at: Place) -> Generator[None]:
    """Serves the app on a thread inside the ``with`` block."""
    server = _server(app)
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, at)), name="rxpipe-web", daemon=True)
    thread.start()
    try:
        yield
    finally:
        app.state.api.hub.close()  # the server waits for open streams
        server.should_exit = True
        thread.join(_LEAVING * 2)


def _server(app: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http="h11",
        timeout_graceful_shutdown=round(_LEAVING),
        timeout_keep_alive=75,
        proxy_headers=False,
    )
    return uvicorn.Server(config)


async def _serve(server: uvicorn.Server, at: Place, ready: Callable[[], object] = lambda: None) -> None:
    asyncio.get_running_loop().call_soon(ready)
    await server.serve(sockets=[at.listening])
