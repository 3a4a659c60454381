"""A server that answers as a test says, and what tests of providers have in common."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Any

import openai  # noqa: F401  # pyright: ignore[reportUnusedImport] - takes a second, which is no test's
from aiohttp import web

from rxpipe import Usage
from rxpipe.llm import Provider
from rxpipe.operators.core.running_call import running_call

Answer = Callable[[web.BaseRequest, dict[str, Any]], Awaitable[web.StreamResponse]]

MESSAGES = [{"role": "user", "content": "Hello?"}]


class OddServer:
    """Where it is, and what it was asked.

    Attributes:
        url: The base URL.
        bodies: Of all requests, in order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.connections: Callable[[], int] = lambda: 0

    @property
    def calls(self) -> int:
        return len(self.bodies)


@contextmanager
def odd_server(answer: Answer) -> Generator[OddServer]:
    """A server on a thread of its own that answers each request with this."""
    server, started = OddServer(), Future[Callable[[], object]]()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        body = json.loads(await request.read())
        server.bodies.append(body)
        return await answer(request, body)

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        web_server = web.Server(handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(web_server, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        server.connections = lambda: len(web_server.connections)
        started.set_result(lambda: loop.call_soon_threadsafe(stop.set))
        await stop.wait()
        for connection in web_server.connections:
            connection.force_close()
        await runner.cleanup()

    thread = Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    try:
        stop = started.result(10)
        try:
            yield server
        finally:
            stop()
    finally:
        thread.join(10)


def completion(text: Any, *, reason: str = "stop", **others: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    return {
        "choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 10},
        **others,
    }


def replying(text: Any, **others: Any) -> Answer:
    """Always this text."""
    return answering(completion(text, **others))


def answering(body: Any, status: int = 200, **headers: str) -> Answer:
    """Always this body."""
    return in_turn([(status, body, headers)])


def failing(status: int, message: str = "no", code: Any = None, **headers: str) -> Answer:
    """Always this error."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answering({"error": {"message": message, "type": None, "code": code}}, status, **named)


def in_turn(answers: Iterable[tuple[int, Any, dict[str, str]]]) -> Answer:
    """Status, body and headers of one after the other, the last of them again and again."""
    left = list(answers)

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        status, given, headers = left.pop(0) if len(left) > 1 else left[0]
        text = given if isinstance(given, str) else json.dumps(given)
        return web.Response(status=status, text=text, headers=headers, content_type="application/json")

    return answer


def provider_at(url: str, **options: Any) -> Provider:
    """A provider called ``main``, which needs no key."""
    settings: dict[str, Any] = {"model": "m", "base_url": url, "name": "main", **options}
    return Provider(**settings)


class Call:
    """A stage's call, which is made again whatever it raises, unless ``last``."""

    def __init__(self, *, last: bool = False) -> None:
        self.usage = Usage()
        self.notes: list[object] = []
        self._last = last

    def remaining(self) -> float | None:
        return None

    def record(self, usage: Usage) -> None:
        self.usage += usage

    def hold(self) -> None:
        """Its time is not kept."""

    def begin(self) -> bool:
        """As above."""
        return True

    def retries(self, error: BaseException) -> bool:
        return not self._last

    def note(self, value: object) -> None:
        self.notes.append(value)


def chat(provider: Provider, call: Call | None = None, **options: Any) -> Any:
    """One call of text, on a loop of its own."""
    return run(provider.chat(MESSAGES, **options), call)


def run(calling: Awaitable[Any], call: Call | None = None) -> Any:
    """Make a call as a stage does, by default one that would be made again."""

    async def within() -> Any:
        running_call.set(call or Call())
        return await calling

    return asyncio.run(within())


def unused_port() -> int:
    """One that nobody listens at."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])
