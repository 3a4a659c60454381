"""What is said of providers and limits that cannot be used; and that no key is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from refusing import Refused, refusing

COUNT = "allowed: a whole number, 1 or more"
NAME = "allowed: a name: text on one line, with no space around it"
ENDPOINT = "allowed: a URL like https://api.example.com/v1, without password"
MODEL = "allowed: model, the name of one at an endpoint, or gguf, a model's file"
OPTIONS = "allowed: parameters such as temperature and max_tokens, but not model, messages, response_format or stream"
PROVIDER = "model, base_url, api_key_env, gguf, limits, prices, structured, options"
SOME_LIMIT = "allowed: requests_per_minute, tokens_per_minute or both; or shared, the name of other limits"


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Has a config refused, and gives the message."""
    return refusing(tmp_path)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("{modle: x}", ".modle", f"unknown key; did you mean 'model'? allowed: {PROVIDER}"),
        ("gpt", "", f"given the text 'gpt'; allowed: a mapping with the keys {PROVIDER}"),
        ("{base_url: localhost:8000}", ".base_url", f"given the text 'localhost:8000'; {ENDPOINT}"),
        ("{}", "", f"given a mapping {{}}; {MODEL}"),
        ("{model: a, gguf: b}", "", f"given a mapping {{'gguf': 'b', 'model': 'a'}}; {MODEL}"),
        (
            "{gguf: b, base_url: 'http://h/v1'}",
            "",
            "given a mapping {'base_url': 'http://h/v1', 'gguf': 'b'}; "
            "allowed: gguf without base_url, api_key_env and structured: it runs in this process",
        ),
        ("{model: a, prices: {prompt: -1, completion: 1}}", ".prices.prompt", "given -1; allowed: a number, 0 or more"),
        (
            "{model: a, prices: {prompt: 1}}",
            ".prices.completion",
            "missing; needed: the price of a million tokens that are returned",
        ),
        (
            "{model: a, structured: jsn_schema}",
            ".structured",
            "given the text 'jsn_schema'; did you mean 'json_schema'? allowed: auto, json_schema, json_object or text",
        ),
        ("{model: a, limits: {requests_per_minute: 0}}", ".limits.requests_per_minute", f"given 0; {COUNT}"),
        (
            "{model: a, limits: {shared: b, tokens_per_minute: 3}}",
            ".limits",
            f"given a mapping {{'shared': 'b', 'tokens_per_minute': 3}}; {SOME_LIMIT}",
        ),
        ("{model: a, options: {stream: true}}", ".options", f"given a mapping {{'stream': True}}; {OPTIONS}"),
        (
            "{model: a, options: {extra_body: {messages: []}}}",
            ".options",
            f"given a mapping {{'extra_body': {{'messages': []}}}}; {OPTIONS}",
        ),
        (
            "{model: a, options: {extra_body: true}}",
            ".options",
            "given a mapping {'extra_body': True}; "
            "allowed: extra_body as a mapping of parameters, or these without extra_body",
        ),
        ("{model: a, limits: ''}", ".limits.shared", f"given the text ''; {NAME}"),
    ],
)
def test_wrong_providers(refused: Refused, text: str, key: str, message: str) -> None:
    """A provider is told by its name, with all keys that it may have."""
    assert refused(f"providers:\n  main: {text}") == f"pipeline.yaml, line 2: providers.main{key}: {message}"


def test_wrong_limits(refused: Refused) -> None:
    """Limits are told by their name, with all keys that they may have."""
    message = "limits.fast.rpm: unknown key; allowed: requests_per_minute, tokens_per_minute, shared"

    assert refused("limits: {fast: {rpm: 3}}") == f"pipeline.yaml, line 1: {message}"


@pytest.mark.parametrize(
    "text",
    [
        "providers: {main: {model: a, api_key: sk-hunter2}}",
        "providers: {main: {model: a, api_key: hunter2}}",
        "providers: {main: {api_key: hunter2}}",
        "providers: {main: {model: a, api_key_env: sk-hunter2}}",
        "providers: {main: {model: a, api_key_env: hunter2/+}}",
        "providers: {main: {model: a, base_url: 'https://u:hunter2@h/v1'}}",
        "providers: {main: {model: a, base_url: 'https://hunter2@h/v1'}}",
        "providers: {main: sk-hunter2}",
        "providers: [{model: a, api_key: hunter2}]",
        "api_key: sk-hunter2",
    ],
)
def test_no_message_shows_a_key(refused: Refused, text: str) -> None:
    """Neither where it has no place, nor where the name of its variable should be."""
    assert "hunter2" not in refused(text)


def test_a_key_in_the_file_is_told_where_it_belongs(refused: Refused) -> None:
    """It is the environment's."""
    message = refused("providers: {main: {model: a, api_key: sk-hunter2}}")
    assert message == (
        f"pipeline.yaml, line 1: providers.main.api_key: unknown key; did you mean 'api_key_env'? allowed: {PROVIDER}"
    )
