"""What goes wrong with a call, by kind."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from aiohttp import web
from odd_llm import (
    MESSAGES,
    Answer,
    Call,
    answering,
    chat,
    completion,
    failing,
    in_turn,
    odd_server,
    provider_at,
    replying,
    run,
    unused_port,
)
from pydantic import BaseModel

from rxpipe.llm import InvalidOutput, LLMError, PermanentError, ProviderUnusable, RateLimited, Refused, Unavailable
from rxpipe.operators.stages.retry_policy import kind_of

FULL = replying("Hello!")


class Greeting(BaseModel):
    greeting: str


def error_of(answer: Answer, call: Call | None = None) -> Exception:
    """What a call raises that comes after one that was answered."""
    first = True

    async def second(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal first
        if first:
            first = False
            return await FULL(request, body)
        return await answer(request, body)

    async def both() -> None:
        await provider.chat(MESSAGES)
        await provider.chat(MESSAGES)

    with odd_server(second) as server:
        provider = provider_at(server.url)
        with pytest.raises((LLMError, ProviderUnusable)) as raised:
            run(both(), call)
    assert server.calls == 2
    return raised.value


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"x-ratelimit-reset-requests": "1m2s", "x-ratelimit-remaining-requests": "0"}, 62),
    ],
)
def test_a_429_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    """If the server does; it is no attempt."""
    error = error_of(failing(429, "slow down", **headers))
    assert isinstance(error, RateLimited)
    assert str(error) == "main: 429: slow down"
    assert (error.status, error.retry_after, error.uses_attempt, kind_of(error)) == (
        429,
        seconds,
        False,
        "rate_limited",
    )


def test_a_429_says_until_when_to_wait() -> None:
    """As a date."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    error = error_of(failing(429, Retry_After=date))
    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(29, abs=2)


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 504, 529])
def test_what_fails_at_the_server_may_be_tried_again(status: int) -> None:
    """It is transient, and may say how long to wait."""
    error = error_of(failing(status, "oops", Retry_After="3"))
    assert type(error) is Unavailable
    assert (str(error), error.status, error.retry_after) == (f"main: {status}: oops", status, 3)
    assert kind_of(error) == "transient"


@pytest.mark.parametrize("status", [400, 403, 404, 413, 422])
def test_what_the_server_does_not_take_is_permanent(status: int) -> None:
    """Once another call was answered, it is this request that is wrong."""
    error = error_of(failing(status, "wrong"))
    assert type(error) is PermanentError
    assert (str(error), error.status, error.is_permanent) == (f"main: {status}: wrong", status, True)


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (failing(401), "it wants a key: name its variable with api_key_env"),
        (failing(402), "there is no quota left"),
        (failing(429, code="insufficient_quota"), "there is no quota left"),
        (answering({"error": {"message": "no", "type": "insufficient_quota"}}, 429), "there is no quota left"),
    ],
)
def test_what_no_call_can_help_stops_the_run(answer: Answer, advice: str) -> None:
    """At any time, with what to do."""
    error = error_of(answer)
    assert type(error) is ProviderUnusable
    assert str(error).startswith("main: 4")
    assert str(error).endswith(f": no; {advice}")


@pytest.mark.parametrize(
    ("status", "advice"),
    [(403, "check the key, and what it may be used for"), (404, "check base_url and model")],
)
def test_a_first_call_that_is_turned_away_stops_the_run(status: int, advice: str) -> None:
    """No other will fare better."""
    with odd_server(failing(status)) as server, pytest.raises(ProviderUnusable) as raised:
        chat(provider_at(server.url))
    assert str(raised.value) == f"main: {status}: no; {advice}"
    assert server.calls == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{broken", "not an answer: JSONDecodeError: "),
        ("[" * 100_000, "not an answer: RecursionError: "),
        ({}, "not a chat completion"),
        ([], "not a chat completion"),
        ("3", "not a chat completion"),
        ({"choices": []}, "not a chat completion"),
        ('{"choices": [{}]}', "not a chat completion"),
        ({"choices": [{"message": "hello"}]}, "not a chat completion"),
        ({"choices": {"a": 1}}, "not a chat completion"),
        ({"error": {"message": "upstream is gone", "code": 502}}, "not a chat completion: upstream is gone"),
    ],
)
def test_what_is_no_completion_may_be_tried_again(body: Any, message: str) -> None:
    """Something between is broken, or the address is wrong."""
    error = error_of(answering(body))
    assert type(error) is Unavailable
    assert str(error).startswith(f"main: {message}")


def test_a_page_instead_of_an_api_stops_the_run() -> None:
    """After the attempts of one item."""

    async def page(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text="<html>Welcome!</html>", content_type="text/html")

    with odd_server(page) as server, pytest.raises(ProviderUnusable) as raised:
        chat(provider_at(server.url), Call(last=True))
    told = "not a chat completion: '<html>Welcome!</html>'; check that the server runs, and base_url"
    assert str(raised.value) == f"main: {told}"


@pytest.mark.parametrize(
    ("page", "message"),
    [("<html><TITLE> 502: a proxy </TITLE>...", "502: a proxy"), ("<!DOCTYPE html><p>", "Bad Gateway")],
)
def test_of_a_page_that_says_an_error_the_title_counts(page: str, message: str) -> None:
    """Or the status, where it has none."""

    async def failing_with_it(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text=page, status=502, content_type="text/html")

    assert str(error_of(failing_with_it)) == f"main: 502: {message}"


@pytest.mark.parametrize("content", [None, "", " ", [], {"a": 1}])
def test_a_reply_without_text_is_invalid_output(content: Any) -> None:
    """Where a form was asked for."""
    with odd_server(replying(content)) as server, pytest.raises(InvalidOutput, match=r"^main: the reply is empty$"):
        run(provider_at(server.url).ask(MESSAGES, Greeting))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            answering({"choices": [{"message": {"content": None, "refusal": "I will not."}}]}),
            "main: the model declined: I will not.",
        ),
        (replying("", reason="content_filter"), "main: a content filter kept the answer back"),
        (failing(400, "filtered", code="content_filter"), "main: 400: filtered"),
    ],
)
def test_a_refusal_is_not_tried_again(answer: Answer, message: str) -> None:
    """The model, or a filter, has decided."""
    error = error_of(answer)
    assert type(error) is Refused
    assert (str(error), kind_of(error), error.is_permanent) == (message, "refused", True)


def test_a_code_may_be_anything() -> None:
    """Servers put numbers there, and worse."""
    for code in (429, ["a"], {"a": 1}):
        assert type(error_of(failing(429, code=code))) is RateLimited


def test_a_connection_that_is_refused_may_be_tried_again() -> None:
    """While there are attempts left."""
    port = unused_port()
    with pytest.raises(Unavailable, match=rf"^main: no connection: 127.0.0.1:{port}: connection refused$") as raised:
        chat(provider_at(f"http://127.0.0.1:{port}/v1"))
    assert raised.value.status is None


def test_a_connection_that_breaks_may_be_tried_again() -> None:
    """In the middle of an answer."""

    async def broken(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices": [')
        assert request.transport is not None
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # with a reset
        request.transport.abort()
        return response

    assert type(error_of(broken)) is Unavailable


def test_a_server_that_takes_too_long_for_the_client_may_be_tried_again() -> None:
    """The client has a timeout of its own, too."""
    import openai

    from rxpipe.llm.client import told

    async def slow(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(30)
        raise AssertionError

    async def impatient() -> LLMError:
        async with openai.AsyncOpenAI(
            base_url=server.url, api_key="none", max_retries=0, timeout=0.05, http_client=openai.DefaultAioHttpClient()
        ) as client:
            try:
                await client.post("/chat/completions", body={}, cast_to=object)
            except openai.APIError as error:
                return told(error)
        raise AssertionError

    with odd_server(slow) as server:
        error = asyncio.run(impatient())
    assert (type(error), str(error)) == (Unavailable, "no answer in time")


def test_an_address_that_is_none_is_told() -> None:
    """It is nobody there."""
    with pytest.raises(ProviderUnusable, match=r"no connection: .*; check that the server runs, and base_url"):
        chat(provider_at("localhost:8000"), Call(last=True))


def test_nothing_of_the_client_is_chained_to_an_error() -> None:
    """Its requests have the key in them."""
    for answer in (failing(429), failing(500), replying("", reason="content_filter")):
        error = error_of(answer)
        assert (error.__cause__, error.__context__) == (None, None)


def test_a_long_message_is_cut() -> None:
    """To what fits in a line or three."""
    error = error_of(failing(500, "long " * 10_000))
    assert len(str(error)) < 320
    assert str(error).endswith("…")


def test_an_error_of_many_lines_becomes_one() -> None:
    """Whatever ends them."""
    error = error_of(failing(502, "Bad\n  gateway\r\n\tor such"))
    assert str(error) == "main: 502: Bad gateway or such"


def test_an_error_without_message_has_the_reason() -> None:
    """That of HTTP."""
    error = error_of(in_turn([(503, "", {})]))
    assert str(error) == "main: 503: Service Unavailable"


def test_a_key_that_goes_away_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up when a connection is opened."""
    monkeypatch.delenv("TEST_KEY", raising=False)
    with pytest.raises(
        ProviderUnusable, match=r"^main: api_key_env: the environment variable TEST_KEY is not set, nor TEST_KEY_FILE$"
    ):
        chat(provider_at("http://127.0.0.1:9/v1", api_key_env="TEST_KEY"))


def test_options_that_are_left_out_are_the_providers() -> None:
    """A stage's own go before."""
    with odd_server(FULL) as server:
        provider = provider_at(server.url, options={"temperature": 0.3, "max_tokens": 9})
        chat(provider, temperature=None, max_tokens=5)
    assert server.bodies == [{"model": "m", "messages": MESSAGES, "temperature": 0.3, "max_tokens": 5}]


def test_an_extra_body_is_sent_beside_the_other_options() -> None:
    """As the openai client sends what it calls so."""
    with odd_server(FULL) as server:
        provider = provider_at(server.url, options={"temperature": 0.3, "extra_body": {"enable_thinking": False}})
        chat(provider, extra_body={"thinking": {"type": "disabled"}})
    thinking = {"enable_thinking": False, "thinking": {"type": "disabled"}}
    assert server.bodies == [{"model": "m", "messages": MESSAGES, "temperature": 0.3, **thinking}]
    with pytest.raises(ValueError, match="extra_body must be a mapping of parameters, not 3"):
        provider_at(server.url, options={"extra_body": 3})


def test_usage_is_as_the_server_counts() -> None:
    """Or as many tokens as a fourth of the characters, if it does not, or not well."""
    for counts, tokens in [
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3)),
        (None, (2, 2)),
        ({"prompt_tokens": -7, "completion_tokens": 10**30}, (2, 2)),
        ({"prompt_tokens": "7", "completion_tokens": True}, (2, 2)),
        ([1], (2, 2)),
    ]:
        with odd_server(replying("Hello!", usage=counts)) as server:
            call = Call()
            reply = chat(provider_at(server.url), call)
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == tokens
        assert call.usage == reply.usage


def test_no_reference_to_a_loop_is_kept() -> None:
    """Connections go with it."""
    with odd_server(FULL) as server:
        provider = provider_at(server.url)
        chat(provider)
        chat(provider)
    assert vars(provider)["_clients"]._held == {}
    gc.collect()


def test_a_message_may_have_any_content() -> None:
    """Parts, or none, as in calls of users' own."""
    with odd_server(answering(completion("Hello!", usage=None))) as server:
        provider = provider_at(server.url)
        messages: Any = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, {"role": "assistant"}]
        assert run(provider.chat(messages)).text == "Hello!"
