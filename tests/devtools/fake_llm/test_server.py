"""The server over HTTP, as clients meet it."""

from __future__ import annotations

import json
import socket
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from rxpipe.devtools.fake_llm import Behaviour, Rate, key_of, serving
from rxpipe.errors import ConfigError

from .clients import ANSWER, QUESTION, address, fetch, post, post_all, request


def ask(client: openai.OpenAI, body: dict[str, Any]) -> ChatCompletion:
    create: Any = client.chat.completions.create
    made: ChatCompletion = create(**body)
    return made


def test_the_openai_client_gets_an_answer() -> None:
    """With a schema, and what it has cost."""
    body = request(QUESTION, ANSWER)
    with serving() as server, openai.OpenAI(base_url=server.url, api_key="any") as client:
        made = ask(client, body)
    text = made.choices[0].message.content
    assert text is not None
    assert json.loads(text)["answer"] in ("7", "8")
    assert made.usage is not None
    assert made.usage.prompt_tokens == len(QUESTION) // 4
    assert made.usage.completion_tokens == len(text) // 4
    assert made.choices[0].finish_reason == "stop"


def test_the_openai_client_knows_the_errors() -> None:
    """And names them, with the codes in their bodies."""
    with (
        serving(Behaviour(limited=1.0, key="right")) as server,
        openai.OpenAI(base_url=server.url, api_key="right", max_retries=0) as client,
        openai.OpenAI(base_url=server.url, api_key="wrong", max_retries=0) as stranger,
    ):
        with pytest.raises(openai.RateLimitError) as limited:
            ask(client, request("hi"))
        with pytest.raises(openai.NotFoundError) as missing:
            ask(client, {**request("hi"), "model": "no-model"})
        with pytest.raises(openai.AuthenticationError) as unknown:
            ask(stranger, request("hi"))
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="m", messages=[])
    codes = [raised.value.code for raised in (limited, missing, unknown)]
    assert codes == ["rate_limit_exceeded", "model_not_found", "invalid_api_key"]


def test_the_openai_client_lists_the_model() -> None:
    """There is one by name, though any other is accepted."""
    with serving() as server, openai.OpenAI(base_url=server.url, api_key="any") as client:
        assert [model.id for model in client.models.list()] == ["fake-model"]


def test_failures_are_500s() -> None:
    """With an error of the server's kind."""
    with serving(Behaviour(fail=1.0)) as server:
        reply = post(server, request("hi"))
    assert (reply.status, reply.error["type"]) == (500, "server_error")


def test_random_429s_say_when_to_come_again() -> None:
    """As the option says, in whole seconds, rounded up."""
    with serving(Behaviour(limited=1.0, retry_after=2.5)) as server:
        reply = post(server, request("hi"))
        assert server.stats()["most_in_flight"] == 0
    assert (reply.status, reply.headers["Retry-After"], reply.headers["retry-after-ms"]) == (429, "3", "2500")


def test_refusals_have_no_content() -> None:
    """But a text of their own."""
    with serving(Behaviour(refuse=1.0)) as server:
        reply = post(server, request("hi", ANSWER))
    message = reply.body["choices"][0]["message"]
    assert (reply.status, message["content"]) == (200, None)
    assert message["refusal"]


def test_cut_texts_say_so() -> None:
    """By the reason for which they ended."""
    with serving(Behaviour(length=1.0)) as server:
        reply = post(server, request(QUESTION, ANSWER))
    assert reply.body["choices"][0]["finish_reason"] == "length"
    assert reply.text.startswith('{"ans')
    assert "}" not in reply.text


def test_invalid_texts_come_in_four_kinds() -> None:
    """None of which is an answer."""
    with serving(Behaviour(invalid=1.0)) as server:
        replies = post_all(server, [request(QUESTION, ANSWER)] * 30)
    assert {reply.status for reply in replies} == {200}
    assert len({reply.text for reply in replies}) == 4
    assert not any(reply.text.startswith('{"answer": "') and reply.text.endswith('"}') for reply in replies)


@pytest.mark.parametrize(
    ("header", "code"),
    [({}, None), ({"Authorization": "Bearer wrong"}, "invalid_api_key"), ({"Authorization": "é"}, "invalid_api_key")],
)
def test_another_key_is_a_401(header: dict[str, str], code: str | None) -> None:
    """Which repeats neither key, and is no call of any messages."""
    with serving(Behaviour(key="right")) as server:
        reply = post(server, request("hi"), **header)
        assert server.stats()["by_key"] == {}
    assert (reply.status, reply.error["code"]) == (401, code)
    assert "right" not in str(reply)
    assert "wrong" not in str(reply.body)


def test_a_header_that_is_no_utf_8_is_just_another_key() -> None:
    """A 401 like others."""
    with serving(Behaviour(key="right")) as server, socket.create_connection(address(server)) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xe9\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_the_right_key_is_let_in() -> None:
    """Of a list of models, too."""
    with serving(Behaviour(key="right")) as server:
        assert post(server, request("hi"), Authorization="Bearer right").status == 200
        assert fetch(server, f"{server.url}/models", Authorization="Bearer right").status == 200
        assert fetch(server, f"{server.url}/models").status == 401


def test_a_schema_is_a_400_where_none_is_known() -> None:
    """And JSON is answered all the same."""
    with serving(Behaviour(no_schema=True)) as server:
        assert post(server, request("hi", ANSWER)).status == 400
        assert post(server, request("hi", response_format={"type": "json_object"})).status == 200


def test_unknown_paths_and_methods_are_errors_like_openais() -> None:
    """With a body that names them."""
    with serving() as server:
        path = fetch(server, f"{server.url}/embeddings")
        method = fetch(server, f"{server.url}/chat/completions")
        models = fetch(server, f"{server.url}/models", "DELETE")
        assert server.stats()["calls"] == 0
    assert (path.status, path.error["message"]) == (404, "Invalid URL (GET /v1/embeddings)")
    assert (method.status, method.headers["Allow"]) == (405, "POST")
    assert (models.status, models.headers["Allow"]) == (405, "GET")


def test_too_large_a_body_is_refused() -> None:
    """With an error like the others."""
    with serving() as server:
        assert post(server, request("a" * 2_000_000)).status == 413


def test_the_rate_limit_holds() -> None:
    """By a clock that stands still: its count gets in, the others learn when there is a place."""
    with serving(Behaviour(rate_limit=Rate(5, 60)), clock=lambda: 0.0) as server:
        replies = post_all(server, [request("hi")] * 12)
        assert server.stats()["by_status"] == {"200": 5, "429": 7}
    limited = next(reply for reply in replies if reply.status == 429)
    assert limited.error["message"] == (
        "Rate limit reached for fake-model on requests: the limit is 5. Please try again in 12s."
    )
    assert (limited.headers["Retry-After"], limited.headers["retry-after-ms"]) == ("12", "12000")
    assert limited.headers["x-ratelimit-reset-requests"] == "1m0s"
    remaining = {reply.headers["x-ratelimit-remaining-requests"] for reply in replies if reply.status == 200}
    assert remaining == {"4", "3", "2", "1", "0"}


def test_the_token_limit_holds() -> None:
    """Prompts and replies count."""
    with serving(Behaviour(token_limit=Rate(100, 1)), clock=lambda: 0.0) as server:
        first, second = post(server, request("a" * 392)), post(server, request("a" * 392))
    assert (first.status, first.headers["x-ratelimit-limit-tokens"]) == (200, "100")
    assert (second.status, second.error["type"]) == (429, "tokens")


def test_counts_are_served_as_json() -> None:
    """The same as those that the server gives."""
    body = request(QUESTION, ANSWER)
    with serving() as server:
        text = post(server, body).text
        post(server, body)
        post(server, b"nonsense")
        counts = fetch(server, server.stats_url).body
        assert counts == server.stats()
    assert counts == {
        "calls": 3,
        "in_flight": 0,
        "most_in_flight": 1,
        "by_status": {"200": 2, "400": 1},
        "by_key": {key_of(body["messages"]): {"calls": 2, "ok": 2}},
        "prompt_tokens": 2 * (len(QUESTION) // 4),
        "completion_tokens": 2 * (len(text) // 4),
    }


def test_a_taken_port_is_one_error() -> None:
    """Which says what is allowed."""
    with serving() as server:
        _, port = address(server)
        with (
            pytest.raises(ConfigError, match=rf"cannot listen at 127\.0\.0\.1:{port}: .*; allowed: "),
            serving(port=port),
        ):
            pass
