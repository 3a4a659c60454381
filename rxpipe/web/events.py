"""Streams events to a browser."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_LIFE = b": \n\n"  # a comment: without it, neither the server nor a proxy notices that the browser has gone


def event(name: str, data: bytes) -> bytes:
    """Encodes one event. ``data`` is JSON in one line."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


class EventStream(Response):
    """Sends events as they come. The stream ends when the browser disconnects.

    While a browser reads slowly, ``send`` waits and no further event is taken, so nothing piles up.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        """Creates a stream.

        Args:
            events: Encoded events; an empty one becomes a keep-alive comment.
        """
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the stream."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await self._events.aclose()
            await send({"type": "http.response.body", "body": b""})
            return
        async with anyio.create_task_group() as group:

            async def leave_with_the_browser() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(leave_with_the_browser)
            async with aclosing(self._events) as events:
                async for one in events:
                    await send({"type": "http.response.body", "body": one or _LIFE, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            group.cancel_scope.cancel()
