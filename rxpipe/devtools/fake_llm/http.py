"""The HTTP part of the server: paths and methods, connections, headers. Needs aiohttp."""

from __future__ import annotations

from aiohttp import web

from rxpipe.devtools.fake_llm.completions import Completions
from rxpipe.devtools.fake_llm.responses import Response, error, no_such_path, success, unauthorized, wrong_method

_MODELS = {"object": "list", "data": [{"id": "fake-model", "object": "model", "created": 0, "owned_by": "rxpipe"}]}


class Listener:
    """Listens at an address, and answers requests.

    This is aiohttp's low-level server. An application with its routes and signals takes half as much time again, which
    clients under measurement would miss.
    """

    def __init__(self, completions: Completions) -> None:
        """Prepare to listen. Call this on the event loop.

        Args:
            completions: Answers calls.
        """
        self._completions = completions
        # Without the cancellation, nobody would notice that a client has gone while its call hangs.
        self._server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)

    async def listen(self, host: str, port: int) -> str:
        """Begin to listen. Returns the URL without a path."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        await site.start()
        address = self._runner.addresses[0]
        return f"http://[{host}]:{address[1]}" if ":" in host else f"http://{host}:{address[1]}"

    async def close(self) -> None:
        """Stop listening, and drop all connections at once."""
        for site in self._runner.sites:
            await site.stop()
        for connection in self._server.connections:
            connection.force_close()
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        response = await self._respond(request)
        return web.Response(
            status=response.status, body=response.body, headers=response.headers, content_type="application/json"
        )

    async def _respond(self, request: web.BaseRequest) -> Response:
        authorization = request.headers.get("Authorization", "")
        match request.path:
            case "/v1/chat/completions":
                if request.method != "POST":
                    return wrong_method(request.method, "POST")
                try:
                    body = await request.read()
                except web.HTTPRequestEntityTooLarge:
                    return error(413, "The body of your request is too large.")
                return await self._completions.complete(body, authorization)
            case "/v1/models":
                if request.method != "GET":
                    return wrong_method(request.method, "GET")
                return success(_MODELS) if self._completions.allowed(authorization) else unauthorized(authorization)
            case "/stats":
                return success(self._completions.counts.stats())
            case path:
                return no_such_path(request.method, path)
