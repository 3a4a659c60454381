"""Requests: what is read from them, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rxpipe.devtools.fake_llm.chat import ChatRequest, parse
from rxpipe.devtools.fake_llm.responses import Refusal

from .clients import ANSWER, request

HI: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]


def parsed(body: Any) -> ChatRequest:
    return parse(json.dumps(body).encode(), no_schema=False)


def refusal(body: bytes, *, no_schema: bool = False) -> tuple[int, dict[str, Any]]:
    with pytest.raises(Refusal) as raised:
        parse(body, no_schema=no_schema)
    told: dict[str, Any] = json.loads(raised.value.response.body)["error"]
    return raised.value.response.status, told


def test_the_last_message_of_the_user_is_read() -> None:
    """Whatever comes before and after it."""
    messages = [*HI, {"role": "user", "content": "last"}, {"role": "assistant", "content": None}]
    assert parsed({"model": "m", "messages": messages}).user == "last"


def test_texts_may_be_in_parts() -> None:
    """Pictures are not looked at."""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}, "b", {"text": "c"}]
    assert parsed({"model": "m", "messages": [{"role": "user", "content": parts}]}).user == "ac"


@pytest.mark.parametrize(("text", "tokens"), [("", 1), ("abc", 1), ("a" * 400, 100)])
def test_four_characters_are_a_token(text: str, tokens: int) -> None:
    """And there is one at least."""
    assert parsed(request(text)).prompt_tokens == tokens


def test_the_key_does_not_depend_on_the_model() -> None:
    """Nor on anything besides the messages."""
    assert parsed(request("hi")).key == parsed({**request("hi", ANSWER), "model": "other", "temperature": 1}).key


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (b"[]", None),
        (json.dumps({"messages": HI}).encode(), None),
        (json.dumps({"model": "m"}).encode(), "messages"),
        (json.dumps({"model": "m", "messages": []}).encode(), "messages"),
        (json.dumps({"model": "m", "messages": "hi"}).encode(), "messages"),
        (json.dumps({"model": "m", "messages": ["hi"]}).encode(), "messages[0].role"),
        (json.dumps({"model": "m", "messages": [*HI, {"content": "hi"}]}).encode(), "messages[1].role"),
        (json.dumps({"model": "m", "messages": [{"role": "user", "content": 3}]}).encode(), "messages[0].content"),
        (json.dumps({**request("hi"), "stream": True}).encode(), "stream"),
        (json.dumps({**request("hi"), "response_format": "json"}).encode(), "response_format.type"),
        (
            json.dumps({**request("hi"), "response_format": {"type": "json_schema"}}).encode(),
            "response_format.json_schema.schema",
        ),
    ],
)
def test_what_cannot_be_answered_is_a_400(body: bytes, param: str | None) -> None:
    """With an error like OpenAI's, which names the parameter."""
    status, told = refusal(body)
    assert (status, told["type"], told["param"]) == (400, "invalid_request_error", param)
    assert told["message"]


def test_some_models_do_not_exist() -> None:
    """Those whose names begin with no-."""
    status, told = refusal(json.dumps({**request("hi"), "model": "no-model"}).encode())
    assert (status, told["code"]) == (404, "model_not_found")
    assert told["message"] == "The model `no-model` does not exist or you do not have access to it."


def test_a_schema_may_be_refused() -> None:
    """As models do that know none."""
    status, told = refusal(json.dumps(request("hi", ANSWER)).encode(), no_schema=True)
    assert (status, told["param"]) == (400, "response_format")
    assert told["message"] == (
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
    )


@pytest.mark.parametrize("form", [None, {"type": "text"}, {"type": "json_object"}])
def test_without_a_schema_nothing_is_refused(form: Any) -> None:
    """By a model that knows none."""
    assert parse(json.dumps(request("hi", response_format=form)).encode(), no_schema=True).schema is None
