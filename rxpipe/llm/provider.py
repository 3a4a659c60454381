"""``Provider``: an OpenAI-compatible endpoint and a model there, as stages call it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

import structlog
from pydantic import BaseModel

from rxpipe.errors import ConfigError
from rxpipe.extras import install
from rxpipe.llm.client import PerLoop, connected, key_from, told
from rxpipe.llm.errors import InvalidOutput, LLMError, PermanentError, ProviderUnusable, RateLimited, Unavailable
from rxpipe.llm.health import Health
from rxpipe.llm.limits import Limits
from rxpipe.llm.reply import Prices, Reply, check, reply_of, usage_of
from rxpipe.llm.structured import parse, schema_of
from rxpipe.operators.core.running_call import Usage, record_usage
from rxpipe.pipeline.transcript import Exchange, note
from rxpipe.secret_values import secret

if TYPE_CHECKING:
    import openai

M = TypeVar("M", bound=BaseModel)
Message = Mapping[str, str]
Structured = Literal["auto", "json_schema", "json_object", "text"]
Server = Callable[[], AbstractAsyncContextManager[str]]

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

_UNKNOWN_FORM = frozenset({400, 404, 422, 501})
_SHOWN = 300  # characters of a server's text
_LONG_WAIT = 60.0  # seconds; a longer wait that a server asks for is worth a log line


class Provider:
    """A model behind an OpenAI-compatible endpoint: a hosted model, vLLM, llama.cpp, Ollama.

    ::

        main = Provider(model="gpt-4.1-mini", limits=Limits(requests_per_minute=600))
        Stage("answering", partial(answer, provider=main), concurrency=AdaptiveConcurrency(), rate_limit=main.limits)

    Stages may share one provider, and with it the connections and the limits.

    - Each call makes one request. The stage retries (``Retry``), and takes ``Retry-After`` and the kinds of errors into
      account.
    - ``record_usage`` counts the tokens and the cost of calls.
    - The first call on an event loop opens connections. They are closed with the loop, or by ``aclose``.

    Attributes:
        name: The provider's name in errors.
        model: The model's name at the endpoint.
        limits: The limits. Give them to the stages that call the provider, as ``rate_limit``.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str | None = None,
        api_key_env: str | None = None,
        limits: Limits | None = None,
        prices: Prices | None = None,
        structured: Structured = "auto",
        longest_text: int | None = None,
        options: Mapping[str, Any] | None = None,
        server: Server | None = None,
        name: str | None = None,
    ) -> None:
        """Describe a provider. No connection is opened yet.

        Args:
            model: The model's name at the endpoint.
            base_url: The endpoint: the part of the URL before ``/chat/completions``; OpenAI's by default.
            api_key_env: The environment variable that holds the key. The default is ``OPENAI_API_KEY`` for OpenAI, and
                no key for other endpoints. If the variable is not set, ``NAME_FILE`` names a file with the key.
            limits: The limits for stages that have them as ``rate_limit``. Other providers may share them.
            prices: The prices of tokens, to count what calls cost.
            structured: How to ask for JSON: with a schema (``json_schema``), as any JSON (``json_object``), or in words
                only (``text``). ``auto`` tries these in this order, and keeps the first that the server accepts.
            longest_text: The most characters that a schema allows for each text, for servers that hold the model to the
                schema.
            options: Parameters of every request, such as ``temperature``. Parameters in ``extra_body``, as the
                ``openai`` client calls it, are sent beside the others.
            server: Returns a context manager that runs the server and gives the ``base_url``. The first call enters the
                context manager, and the end of the loop leaves it.
            name: The provider's name in errors; the model's name by default.

        Raises:
            ValueError: ``structured`` is not one of these values, or ``extra_body`` is no mapping.
        """
        if structured not in get_args(Structured):
            raise ValueError(f"structured must be one of {', '.join(get_args(Structured))}, not {structured!r}")
        self.name = name or model
        self.model = model
        self.limits = limits or Limits()
        self.limits.name = self.limits.name or self.name
        self._prices = prices
        self._base_url = base_url
        self._server = server
        is_openai = base_url is None and server is None
        self._key_env = "OPENAI_API_KEY" if is_openai and api_key_env is None else api_key_env
        self._options = parameters(options or {})
        self._longest_text = longest_text
        self._forms = list(get_args(Structured)[1:]) if structured == "auto" else [structured]
        self._schemas: dict[type[BaseModel], dict[str, Any]] = {}  # making a schema takes longer than sending it
        self._form = 0  # index of the form to ask in
        self._form_works = len(self._forms) == 1
        self._told_until = 0.0  # the end of a long wait that was logged
        self._health = Health(key_env=self._key_env)
        self._clients = PerLoop(self._connected)

    @property
    def model_key(self) -> str:
        """The model and the parameters of every request, as text. Replies depend on these alone, at any endpoint."""
        return json.dumps([self.model, self._options], sort_keys=True, default=repr)

    def check(self, *, where: str = "api_key_env") -> None:
        """Check that all that a call needs is there, without a call.

        Args:
            where: The name of the key's variable in errors.

        Raises:
            ConfigError: The key is not there, or a package is missing.
        """
        need("openai", "aiohttp", extra="openai")
        key_from(self._key_env, where=where)

    async def ask(self, messages: Sequence[Message], output: type[M], **options: Any) -> M:
        """Ask the model, and return its answer as an object.

        Args:
            messages: Mappings with ``role`` and ``content``.
            output: The pydantic model of the reply.
            options: Parameters of the request. Parameters that are None are left out.

        Raises:
            InvalidOutput: The reply is no such object.
            Exception: Any error of ``chat``.
        """
        reply = await self._chat(messages, output, options)
        try:
            return parse(reply.text, output)
        except InvalidOutput as error:
            cut = "the reply was cut at the most tokens allowed; " if reply.finish_reason == "length" else ""
            text = f"{self.name}: {cut}{self._shown(str(error))}"
        raise InvalidOutput(text)  # outside the handler, so that the error does not chain the whole reply

    async def chat(self, messages: Sequence[Message], **options: Any) -> Reply:
        """Ask the model, and return its answer as text.

        Args:
            messages: Mappings with ``role`` and ``content``.
            options: Parameters of the request. Parameters that are None are left out.

        Raises:
            RateLimited: The server sent a 429. This uses up no attempt of the stage.
            Unavailable: The server failed, could not be reached, or sent something else than a chat completion.
            Refused: The model declined.
            InvalidOutput: The reply is far too long.
            PermanentError: The server does not accept the request.
            ProviderUnusable: The server accepts no request: a wrong key, no quota, an unknown model, or no server
                there.
        """
        return await self._chat(messages, None, options)

    async def aclose(self) -> None:
        """Close the connections of the running loop. A later call opens new connections."""
        await self._clients.aclose()

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[openai.AsyncOpenAI]:
        async with AsyncExitStack() as stack:
            url = self._base_url
            if self._server is not None:
                url = await stack.enter_async_context(self._server())
            yield await stack.enter_async_context(connected(url, key_from(self._key_env)))

    async def _chat(
        self, messages: Sequence[Message], output: type[BaseModel] | None, options: Mapping[str, Any]
    ) -> Reply:
        given = {name: value for name, value in options.items() if value is not None}
        body = {"model": self.model, "messages": list(messages), **self._options, **parameters(given)}
        try:
            client = await self._clients.get()
        except ConfigError as error:
            raise ProviderUnusable(f"{self.name}: {error}") from None
        try:
            return await (self._request(client, body) if output is None else self._request_as(client, body, output))
        except LLMError as error:
            raised: Exception = type(error)(f"{self.name}: {self._shown(str(error))}")
            vars(raised).update(vars(error))
            if self._health.is_first_miss(error):
                _log.warning("the server is not there yet", provider=self.name, error=self._shown(str(error)))
            now = asyncio.get_running_loop().time()
            if self._health.is_only_refusing(error, now):
                _log.warning("nothing but 429s for half a minute", provider=self.name, error=self._shown(str(error)))
            if advice := self._health.why_unusable(error, now):
                raised = ProviderUnusable(f"{str(raised).rstrip('.。')}; {advice}")
        raise raised  # outside the handler, so that the error chains nothing of the client

    async def _request_as(self, client: openai.AsyncOpenAI, body: dict[str, Any], output: type[BaseModel]) -> Reply:
        """Request JSON, in the first form that the server accepts."""
        form = self._form
        while True:
            try:
                reply = await self._request(client, body | self._response_format(self._forms[form], output))
            except (PermanentError, Unavailable) as error:
                # Servers that do not know a form say so in many ways.
                known = self._form_works and form == self._form
                if known or form + 1 == len(self._forms) or error.status not in _UNKNOWN_FORM:
                    raise
                form = max(form + 1, self._form)  # another call may have found the form meanwhile
            else:
                if not self._form_works:
                    self._form, self._form_works = form, True
                return reply

    def _response_format(self, form: str, output: type[BaseModel]) -> dict[str, Any]:
        if form == "json_schema":
            if output not in self._schemas:
                self._schemas[output] = schema_of(output, longest=self._longest_text)
            return {"response_format": self._schemas[output]}
        return {"response_format": {"type": "json_object"}} if form == "json_object" else {}

    async def _request(self, client: openai.AsyncOpenAI, body: dict[str, Any]) -> Reply:
        """Make one request, and count its usage and its errors."""
        messages = body["messages"]
        taken = self.limits.begin()
        try:
            answer: Any = await client.post("/chat/completions", body=body, cast_to=object)
            check(answer)
        except Exception as error:  # noqa: BLE001 - many kinds of errors, those of the HTTP library among them
            found = error if isinstance(error, LLMError) else told(error)
            self._note(messages, self._shown(str(found)), failed=True)
            self._count_failed(found, taken)
            raise found from None
        usage = usage_of(answer, messages, self._prices)
        self._health.answered()
        self.limits.answered(taken, usage.tokens)
        record_usage(usage)
        try:
            reply = reply_of(answer, usage)
        except LLMError as error:
            self._note(messages, self._shown(str(error)), usage, failed=True)
            raise
        self._note(messages, reply.text, usage)
        return reply

    def _note(
        self, messages: Sequence[Mapping[str, str]], reply: str, usage: Usage | None = None, *, failed: bool = False
    ) -> None:
        """Add a request and its reply to the transcript. The key is removed from both."""
        key = self._key()
        if key and (key in reply or any(key in str(message) for message in messages)):
            reply = reply.replace(key, "***")
            messages = [
                {name: str(value).replace(key, "***") for name, value in message.items()} for message in messages
            ]
        note(Exchange(messages=messages, reply=reply, usage=usage, model=self.model, failed=failed))

    def _count_failed(self, error: LLMError, taken: float) -> None:
        if not isinstance(error, RateLimited):
            self.limits.failed(taken)
            return
        self.limits.refused(taken, error.retry_after or 0.0)
        seconds, now = error.retry_after or 0.0, asyncio.get_running_loop().time()
        if seconds > _LONG_WAIT and now >= self._told_until:  # once, for all calls that are asked to wait
            self._told_until = now + seconds
            _log.warning("the server asks to wait", provider=self.name, seconds=seconds)

    def _shown(self, text: str) -> str:
        """Returns a server's text, cut, and without the key, which some servers repeat."""
        key = self._key()
        text = " ".join((text.replace(key, "***") if key else text).split())
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"

    def _key(self) -> str:
        try:
            return (secret(self._key_env) or "") if self._key_env else ""
        except ConfigError:  # the key's file has gone since the key was read
            return ""

    def __repr__(self) -> str:
        return f"Provider({self.name!r})"


def parameters(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of a request, those of ``extra_body`` among them.

    Raises:
        ValueError: ``extra_body`` is no mapping.
    """
    sent = dict(options)
    extra: Any = sent.pop("extra_body", None) or {}
    if not isinstance(extra, Mapping):
        raise ValueError(f"extra_body must be a mapping of parameters, not {extra!r}")
    return {**sent, **cast("Mapping[str, Any]", extra)}


def need(*modules: str, extra: str) -> None:
    """Check that modules are installed. The error says how to install the missing ones.

    Args:
        modules: The modules that are needed.
        extra: The extra that contains them.

    Raises:
        ConfigError: A module is missing.
    """
    if missing := [module for module in modules if find_spec(module) is None]:
        raise ConfigError(f"{' and '.join(missing)} must be installed: {install(extra)}")
