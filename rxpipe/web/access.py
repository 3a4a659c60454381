"""Who may see the page, and who may act on it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

LOOPBACK = ("localhost", "127.0.0.1", "::1")
COOKIE = "rxpipe_page"
ACTION_HEADER = "x-rxpipe-action"  # a form or a foreign page cannot set it without asking the server first
Authorize = Callable[[HTTPConnection], bool | Awaitable[bool]]


def host_name(host: str) -> str | None:
    """The name of a ``Host`` header, without its port; None if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return name if name and parts.username is None and not parts.path else None


def is_loopback(name: str) -> bool:
    """Whether an address or a name is this machine's own."""
    if name in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Access:
    """The rules. A request is let in if it comes from this machine, has the token, or ``authorize`` says so."""

    def __init__(
        self, token: str | None, allowed_hosts: Collection[str], authorize: Authorize | None, *, read_only: bool
    ) -> None:
        """Set the rules.

        Args:
            token: What a request must have; None for none.
            allowed_hosts: Names by which the page may be reached; ``*`` for any.
            authorize: Decides instead of the token.
            read_only: Whether nothing may be done.

        Raises:
            ValueError: The page would be open to anybody.
        """
        self.hosts = {host.lower().strip("[]") for host in allowed_hosts}
        beyond = sorted(host for host in self.hosts if not is_loopback(host))
        if beyond and token is None and authorize is None:
            raise ValueError(
                f"allowed_hosts has {', '.join(beyond)}: give a token, or authorize, or anybody may come in"
            )
        if token is not None and len(token) < 16:
            raise ValueError("a token has 16 characters at least: secrets.token_urlsafe() makes one")
        self._token = token
        self._authorize = authorize
        self.read_only = read_only

    def refuses_host(self, connection: HTTPConnection) -> str | None:
        """Why a request is refused before anything else: another site's name stands for this server's address."""
        host = connection.headers.get("host", "")
        name = host_name(host)
        if name is None or len(connection.headers.getlist("host")) != 1:
            return "the Host header is missing or malformed"
        if "*" not in self.hosts and name.lower() not in self.hosts:
            return "this name is not one that the page is reached by; see allowed_hosts"
        origin = connection.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return "another site's page has asked"
        return None

    def refuses_site(self, connection: HTTPConnection, *, navigates: bool) -> str | None:
        """Why a request is refused that a browser says another site has caused; anybody may link to the page itself."""
        site = connection.headers.get("sec-fetch-site")
        if site in (None, "same-origin", "none") or (
            navigates and connection.headers.get("sec-fetch-dest") == "document"
        ):
            return None
        return "another site's page has asked"

    def refuses_action(self, connection: HTTPConnection) -> str | None:
        """Why a request that changes something is refused, though its sender may see the page."""
        if self.read_only:
            return "this page is read-only"
        if connection.headers.get("sec-fetch-site") not in (None, "same-origin"):
            return "another site's page has asked"
        if connection.headers.get(ACTION_HEADER) != "1":
            return f"the header {ACTION_HEADER} is missing"
        if connection.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return "an action is asked for in JSON"
        return None

    async def knows(self, connection: HTTPConnection) -> bool:
        """Whether a request may see the page."""
        if self._authorize is not None:
            answer = self._authorize(connection)
            return answer if isinstance(answer, bool) else await answer
        if self._token is None:
            client = connection.client
            return client is None or is_loopback(client.host)  # a Unix socket has no address
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        return hmac.compare_digest(connection.cookies.get(COOKIE, "").encode(), self.cookie().encode())

    def is_token(self, given: str) -> bool:
        """Whether this is the token."""
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def cookie(self) -> str:
        """What a browser keeps that has shown the token; the token cannot be told from it."""
        return hashlib.sha256(f"rxpipe page {self._token}".encode()).hexdigest()

    @property
    def wants_token(self) -> bool:
        """Whether a browser may come in with the token."""
        return self._token is not None and self._authorize is None
