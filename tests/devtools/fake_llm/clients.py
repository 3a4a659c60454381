"""Clients of a fake server, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from io import BytesIO
from typing import Any, NamedTuple

import aiohttp

from rxpipe.devtools.fake_llm import FakeServer

TEXT: dict[str, Any] = {"type": "string"}
ANSWER = {"type": "object", "properties": {"answer": TEXT}, "required": ["answer"], "additionalProperties": False}
QUESTION = "<question>Ben has 3 apples and gets 4 more. How many apples does Ben have now?</question>"


class Reply(NamedTuple):
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def text(self) -> str:
        """The message's text."""
        text: str = self.body["choices"][0]["message"]["content"]
        return text

    @property
    def error(self) -> dict[str, Any]:
        """What is said of an error."""
        told: dict[str, Any] = self.body["error"]
        return told


def request(user: str, schema: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    """The body of a request with one message."""
    body: dict[str, Any] = {"model": "fake-model", "messages": [{"role": "user", "content": user}], **others}
    if schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}
    return body


def post(server: FakeServer, body: Any, **headers: str) -> Reply:
    """One call; bytes are sent as they are."""
    return post_all(server, [body], **headers)[0]


def post_all(server: FakeServer, bodies: Iterable[Any], **headers: str) -> list[Reply]:
    """Calls at the same time."""

    async def post_each() -> list[Reply]:
        async with aiohttp.ClientSession(headers=headers) as session:
            return await asyncio.gather(*(_reply(session, "POST", _completions(server), body) for body in bodies))

    return asyncio.run(post_each())


def fetch(server: FakeServer, url: str, method: str = "GET", **headers: str) -> Reply:
    """One request of another kind."""

    async def fetch_it() -> Reply:
        async with aiohttp.ClientSession(headers=headers) as session:
            return await _reply(session, method, url, None)

    return asyncio.run(fetch_it())


@contextmanager
def hanging(server: FakeServer, body: Any, count: int = 1) -> Generator[None]:
    """Calls at the same time, which are being served and wait for their answers; their clients go in the end."""
    before = server.stats()["in_flight"]
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(closing(HTTPConnection(*address(server))))
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
        wait_until(lambda: server.stats()["in_flight"] == before + count)
        yield


def address(server: FakeServer) -> tuple[str, int]:
    """Where it listens."""
    host, port = server.url.split("/")[2].split(":")
    return host, int(port)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until the server has noticed something."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "the server has not noticed"
        time.sleep(0.001)


def _completions(server: FakeServer) -> str:
    return f"{server.url}/chat/completions"


async def _reply(session: aiohttp.ClientSession, method: str, url: str, body: Any) -> Reply:
    data = None
    if body is not None:
        data = BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    async with session.request(method, url, data=data) as response:
        return Reply(response.status, response.headers.copy(), await response.json())
