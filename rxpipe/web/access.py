"""Decides who may see the page, and who may act on it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

LOOPBACK = ("localhost", "127.0.0.1", "::1")
COOKIE = "rxpipe_page"
ACTION_HEADER = "x-rxpipe-action"  # a form or a page of another site cannot set it without asking the server first
Authorize = Callable[[HTTPConnection], bool | Awaitable[bool]]


def host_name(host: str) -> str | None:
    """Returns the name in a ``Host`` header, without the port; None if the header is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return None
    return name if name and parts.username is None and not parts.path else None


def is_loopback(name: str) -> bool:
    """Returns True if an address or a name belongs to this machine."""
    if name in LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Access:
    """The access rules. A request gets in if it comes from this machine, has the token, or ``authorize`` allows it."""

    def __init__(
        self, token: str | None, allowed_hosts: Collection[str], authorize: Authorize | None, *, read_only: bool
    ) -> None:
        """Sets the rules.

        Args:
            token: The token that a request must have; None for no token.
            allowed_hosts: Host names by which the page may be reached; ``*`` allows any.
            authorize: Decides instead of the token.
            read_only: If True, all actions are refused.

        Raises:
            ValueError: The page would be open to anybody, or the token has fewer than 16 characters.
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
        """Returns why a request with a wrong ``Host`` or ``Origin`` is refused (DNS rebinding); None if it is not."""
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
        """Returns why a request that another site caused is refused; None for others, and for links to the page."""
        site = connection.headers.get("sec-fetch-site")
        if site in (None, "same-origin", "none") or (
            navigates and connection.headers.get("sec-fetch-dest") == "document"
        ):
            return None
        return "another site's page has asked"

    def refuses_action(self, connection: HTTPConnection) -> str | None:
        """Returns why an action is refused, though its sender may see the page; None if it is not refused."""
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
        """Returns True if a request may see the page."""
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
        """Returns True if ``given`` is the token."""
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def cookie(self) -> str:
        """Returns the cookie of a browser that has shown the token. The token cannot be derived from it."""
        return hashlib.sha256(f"rxpipe page {self._token}".encode()).hexdigest()

    @property
    def wants_token(self) -> bool:
        """True if a browser can get in with the token."""
        return self._token is not None and self._authorize is None
