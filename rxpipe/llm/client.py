"""The HTTP side of a provider: one ``openai`` client per event loop, and what its errors mean."""

from __future__ import annotations

import asyncio
import contextvars
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from rxpipe.errors import ConfigError
from rxpipe.llm.errors import InvalidOutput, LLMError, PermanentError, RateLimited, Refused, Unavailable
from rxpipe.llm.exhausted import why_exhausted
from rxpipe.llm.headers import retry_after
from rxpipe.operators.core.running_call import time_held
from rxpipe.secret_values import FILE, secret

if TYPE_CHECKING:
    import httpx2
    import openai

_CONNECTIONS = 1_000_000
LARGEST = 2_000_000  # bytes of a reply
_BUSY = 429
_TRANSIENT = frozenset({408, 409, 425})
_PAYMENT_REQUIRED = 402  # with a time to wait, OpenRouter means calls that are in flight
_FILTERED = "content_filter"  # of a prompt, as a 400
_TITLE = re.compile(r"<title>([^<]{1,200})</title>", re.IGNORECASE)
_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")  # what no key looks like

Connect = Callable[[], AbstractAsyncContextManager["openai.AsyncOpenAI"]]


class PerLoop:
    """A client for each event loop that calls are made on: opened by the first call, closed with the loop.

    A connection pool belongs to a loop. A task of that loop holds it: ``asyncio.run``, and rxpipe's own loop, cancel
    the tasks that are left at their end, and wait for them.
    """

    def __init__(self, connected: Connect) -> None:
        self._connected = connected
        self._held: dict[asyncio.AbstractEventLoop, tuple[asyncio.Future[openai.AsyncOpenAI], asyncio.Task[None]]] = {}

    async def get(self) -> openai.AsyncOpenAI:
        """The running loop's client.

        Raises:
            Exception: What opening it raised; the next call tries again.
        """
        loop = asyncio.get_running_loop()
        if loop not in self._held:
            ready: asyncio.Future[openai.AsyncOpenAI] = loop.create_future()
            holding = loop.create_task(self._hold(loop, ready), name="rxpipe-llm", context=contextvars.Context())
            self._held[loop] = ready, holding
        ready = self._held[loop][0]
        if ready.done():
            return ready.result()
        with time_held():  # it may take longer than a call: a second, for an import alone
            return await asyncio.shield(ready)

    async def aclose(self) -> None:
        """Close the running loop's client, if there is one."""
        if (held := self._held.pop(asyncio.get_running_loop(), None)) is not None:
            held[1].cancel()
            await asyncio.wait([held[1]])

    async def _hold(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[openai.AsyncOpenAI]) -> None:
        try:
            async with self._connected() as client:
                ready.set_result(client)
                await loop.create_future()  # until it is cancelled
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)
            ready.exception()  # seen, if nobody waits for it any more
        finally:
            ready.cancel()
            if (held := self._held.get(loop)) is not None and held[0] is ready:
                del self._held[loop]


@asynccontextmanager
async def connected(base_url: str | None, key: str) -> AsyncGenerator[openai.AsyncOpenAI]:
    """A client, on a connection pool of its own, which makes each request once."""
    openai = await asyncio.to_thread(import_module, "openai")  # a second, for which the loop must not stand still
    # Stages bound their calls. No bound here would be aiohttp's default, of 100.
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(max_connections=_CONNECTIONS)
    http = openai.DefaultAioHttpClient(limits=limits, event_hooks={"response": [_bounding()]})
    identity = {"Accept-Encoding": "identity"}  # so that what is counted is what is read
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key=key, max_retries=0, http_client=http, default_headers=identity
    ) as client:
        yield client


def key_from(variable: str | None, *, where: str = "api_key_env") -> str:
    """The key in an environment variable, or in the file that ``NAME_FILE`` names.

    Raises:
        ConfigError: It is not set, its file cannot be read, or it cannot be sent. What may be a key, by mistake, is
            not shown.
    """
    if variable is None:
        return "none"  # the client wants one, servers of one's own do not
    shown = shown_name(variable) or "that it names"
    try:
        key = secret(variable) or ""
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not key:
        raise ConfigError(f"{where}: the environment variable {shown} is not set{_nor_file(variable)}")
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"{where}: the environment variable {shown} holds no key: not printable ASCII")
    return key


def _nor_file(variable: str) -> str:
    return f", nor {variable}{FILE}" if shown_name(variable) else ""


def shown_name(variable: str) -> str | None:
    """A variable's name, unless it looks as if it might be a key."""
    return variable if _NAME.fullmatch(variable) else None


class _TooLarge(Exception):
    """More came than anybody would have asked for."""


def _bounding() -> Callable[[httpx2.Response], Awaitable[None]]:
    """What has the body of each response end with an error, when it is read, where it is too large."""
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, stream: httpx2.AsyncByteStream) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            left = LARGEST
            async for chunk in self._stream:
                left -= len(chunk)
                if left < 0:
                    raise _TooLarge
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def bound(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _TooLarge  # a small body that may become any size
        response.stream = Bounded(cast("httpx2.AsyncByteStream", response.stream))

    return bound


def told(error: Exception) -> LLMError:
    """What an error of the client means; its text may be long, and have the key in it."""
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError):
        return _status_error(error)
    if isinstance(error, _TooLarge) or isinstance(error.__cause__, _TooLarge):
        return InvalidOutput(f"the reply was cut: it is larger than {LARGEST:,} bytes, or compressed")
    # aiohttp's errors of connecting all come as a timeout of it
    if isinstance(error, openai.APITimeoutError) and not isinstance(error.__cause__, httpx2.ConnectTimeout):
        return Unavailable("no answer in time")
    if isinstance(error, openai.APIConnectionError):
        missed = Unavailable(f"no connection: {_why_no_connection(error)}")
        missed.reached = not isinstance(error.__cause__, httpx2.ConnectTimeout)
        return missed
    return Unavailable(f"not an answer: {type(error).__name__}: {error}")


def _why_no_connection(error: openai.APIConnectionError) -> str:
    import aiohttp

    cause = error.__cause__
    if cause is None or not isinstance(cause.__cause__, aiohttp.ClientConnectorError):
        return str(cause or error)
    failed = cause.__cause__
    refused = isinstance(failed.os_error, ConnectionRefusedError)
    return f"{failed.host}:{failed.port}: {'connection refused' if refused else failed.os_error.strerror or failed}"


def _status_error(error: openai.APIStatusError) -> LLMError:
    status, message = error.status_code, _message(error)
    wait, text = retry_after(error.response.headers), f"{status}: {message}"
    exhausted = why_exhausted(
        status, (error.code, error.type), message, error.request.url.host, may_wait=wait is not None
    )
    found: LLMError
    if exhausted is not None:
        found = PermanentError(text)
        found.exhausted = exhausted
    elif status in (_BUSY, _PAYMENT_REQUIRED):
        found = RateLimited(text)
    elif status == 400 and error.code == _FILTERED:
        found = Refused(text)
    elif status >= 500 or status in _TRANSIENT:
        found = Unavailable(text)
    else:
        found = PermanentError(text)
    found.status = status
    found.retry_after = wait
    return found


def _message(error: openai.APIStatusError) -> str:
    body: Any = error.body
    message = cast("dict[str, Any]", body).get("message") if isinstance(body, dict) else body
    if not isinstance(message, str) or not message.strip():
        return error.response.reason_phrase or "no message"
    if message.lstrip().startswith("<"):  # a page, of what stands before the server: its title says all there is
        title = _TITLE.search(message)
        return title[1].strip() if title else error.response.reason_phrase or message
    return message
