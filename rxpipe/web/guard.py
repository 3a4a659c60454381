"""Middleware in front of the whole page: lets requests in, and sets headers that protect a browser."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders, QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rxpipe.web.access import COOKIE, Access
from rxpipe.web.pages import Pages

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_READING = ("GET", "HEAD")


class Guard:
    """ASGI middleware. It refuses requests by the rules of ``Access``, and adds the headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access, pages: Pages) -> None:
        """Puts the middleware in front of an app.

        Args:
            app: The app.
            access: The rules.
            pages: The page for a browser that is not let in.
        """
        self._app = app
        self._access = access
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self._app(scope, receive, send)
            return

        enters = False

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if enters:
                    headers.append("set-cookie", self._cookie(scope))
            await send(message)

        connection = HTTPConnection(scope)
        is_page = _path(scope) in ("", "/")
        refusal = self._refusal(connection, is_page=is_page)
        if refusal is None:
            given = QueryParams(scope["query_string"]).get("token") if is_page else None
            enters = given is not None and self._access.wants_token and self._access.is_token(given)
            if not enters and not await self._access.knows(connection):
                refusal = self._stranger(is_page=is_page, was_given=given is not None)
        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, connection: HTTPConnection, *, is_page: bool) -> Response | None:
        reads = connection.scope["method"] in _READING
        why = self._access.refuses_host(connection) or self._access.refuses_site(
            connection, navigates=is_page and reads
        )
        if why is None and not reads:
            why = self._access.refuses_action(connection)
        return None if why is None else JSONResponse({"error": why}, 403)

    def _stranger(self, *, is_page: bool, was_given: bool) -> Response:
        if is_page and self._access.wants_token:
            return self._pages.door(wrong=was_given)
        return JSONResponse({"error": "you are not let in: the token is missing or wrong"}, 401)

    def _cookie(self, scope: Scope) -> str:
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        path = scope.get("root_path", "").rstrip("/") or "/"
        return f"{COOKIE}={self._access.cookie()}; Path={path}; HttpOnly; SameSite=Strict{secure}"


def _path(scope: Scope) -> str:
    """Returns the path below the point where the page is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
