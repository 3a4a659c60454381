"""The HTTP side of a provider: one ``openai`` client for each event loop, and the meaning of the client's errors."""

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
_PAYMENT_REQUIRED = 402  # with a time to wait, OpenRouter means that calls are in flight
_FILTERED = "content_filter"  # the code of a refused prompt, with status 400
_TITLE = re.compile(r"<title>([^<]{1,200})</title>", re.IGNORECASE)
_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")  # no key looks like this

Connect = Callable[[], AbstractAsyncContextManager["openai.AsyncOpenAI"]]


class PerLoop:
    """Keeps one client for each event loop that makes calls.

    The first call on a loop opens the client. The client is closed with the loop: a connection pool belongs to one
    loop, so a task of that loop holds it. ``asyncio.run`` and rxpipe's own loop cancel the tasks that are left at their
    end, and wait for them.
    """

    def __init__(self, connected: Connect) -> None:
        self._connected = connected
        self._held: dict[asyncio.AbstractEventLoop, tuple[asyncio.Future[openai.AsyncOpenAI], asyncio.Task[None]]] = {}

    async def get(self) -> openai.AsyncOpenAI:
        """Returns the running loop's client.

        Raises:
            Exception: The client could not be opened. The next call tries again.
        """
        loop = asyncio.get_running_loop()
        if loop not in self._held:
            ready: asyncio.Future[openai.AsyncOpenAI] = loop.create_future()
            holding = loop.create_task(self._hold(loop, ready), name="rxpipe-llm", context=contextvars.Context())
            self._held[loop] = ready, holding
        ready = self._held[loop][0]
        if ready.done():
            return ready.result()
        with time_held():  # opening may take longer than a call: the import alone takes a second
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
                await loop.create_future()  # until the task is cancelled
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)
            ready.exception()  # marks the error as seen, if nobody waits for it any more
        finally:
            ready.cancel()
            if (held := self._held.get(loop)) is not None and held[0] is ready:
                del self._held[loop]


@asynccontextmanager
async def connected(base_url: str | None, key: str) -> AsyncGenerator[openai.AsyncOpenAI]:
    """Yields a client with its own connection pool. The client makes each request once."""
    openai = await asyncio.to_thread(import_module, "openai")  # takes a second; the loop must not stand still meanwhile
    # Stages bound their calls. Without a number here, aiohttp's default of 100 would apply.
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(max_connections=_CONNECTIONS)
    http = openai.DefaultAioHttpClient(limits=limits, event_hooks={"response": [_bounding()]})
    identity = {"Accept-Encoding": "identity"}  # so that the bytes counted are the bytes read
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key=key, max_retries=0, http_client=http, default_headers=identity
    ) as client:
        yield client


def key_from(variable: str | None, *, where: str = "api_key_env") -> str:
    """Returns the key in an environment variable, or in the file that ``NAME_FILE`` names.

    Raises:
        ConfigError: The variable is not set, its file cannot be read, or the key cannot be sent. The error does not
            show a name that may be a key by mistake.
    """
    if variable is None:
        return "none"  # the client needs a key, private servers do not
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
    """Returns a variable's name, or None if the name looks like a key."""
    return variable if _NAME.fullmatch(variable) else None


class _TooLarge(Exception):
    """The body of a reply is larger than any useful reply."""


def _bounding() -> Callable[[httpx2.Response], Awaitable[None]]:
    """Returns a hook for responses. Reading a body that is too large then raises ``_TooLarge``."""
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
            raise _TooLarge  # a small compressed body may become any size
        response.stream = Bounded(cast("httpx2.AsyncByteStream", response.stream))

    return bound


def told(error: Exception) -> LLMError:
    """Returns the error that an error of the client means. Its text may be long, and may contain the key."""
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError):
        return _status_error(error)
    if isinstance(error, _TooLarge) or isinstance(error.__cause__, _TooLarge):
        return InvalidOutput(f"the reply was cut: it is larger than {LARGEST:,} bytes, or compressed")
    # All of aiohttp's connection errors come as a connect timeout.
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
    if message.lstrip().startswith("<"):  # a page of a proxy or gateway before the server: the title says enough
        title = _TITLE.search(message)
        return title[1].strip() if title else error.response.reason_phrase or message
    return message
