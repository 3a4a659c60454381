"""Keys: from the environment to the server, and nowhere else."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from cli.program import refused, rxpipe
from llm_pipelines import SOON, ask
from odd_llm import (
    MESSAGES,
    Answer,
    Call,
    answering,
    chat,
    completion,
    failing,
    odd_server,
    provider_at,
    replying,
    run,
)

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.llm import InvalidOutput, LLMError, ProviderUnusable
from rxpipe.pipeline.transcript import Exchange, listener
from rxpipe.questions.llm.values import WrittenAnswer

KEY = "sk-hunter2-0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is where it belongs."""
    monkeypatch.setenv("TEST_KEY", f" {KEY}\n")


def echoing(status: int) -> Answer:
    """A server that repeats the key in its errors, over and over."""
    text = f"no good: {KEY}; Bearer {KEY} " * 50
    if status == 200:
        return replying(text)
    return failing(status, text, code=KEY)


def test_the_key_is_sent_as_it_is_in_the_environment() -> None:
    """Without the blanks that files end with."""
    seen: list[str | None] = []

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return await replying("Hello!")(request, body)

    with odd_server(answer) as server:
        chat(provider_at(server.url, api_key_env="TEST_KEY"))
        chat(provider_at(server.url))
    assert seen == [f"Bearer {KEY}", "Bearer none"]


def test_openais_own_key_goes_to_openai_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the client library would do."""
    seen: list[str | None] = []

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        seen.append(str(request.headers))
        return await replying("Hello!")(request, body)

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with odd_server(answer) as server:
        chat(provider_at(server.url))
    assert "hunter2" not in str(seen)


def test_a_provider_does_not_hold_the_key() -> None:
    """Neither its text nor all that can be reached from it; and it cannot be pickled."""
    provider = provider_at("http://h/v1", api_key_env="TEST_KEY")
    assert repr(provider) == str(provider) == "Provider('main')"
    assert "hunter2" not in str(vars(provider))
    with pytest.raises(TypeError):
        pickle.dumps(provider)


@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 404, 429, 500])
def test_a_server_that_repeats_the_key_tells_nobody(status: int) -> None:
    """It is in no part of the error, whole or cut, nor in its traceback, its copies or pickles."""
    said: list[Exchange] = []

    async def asking() -> None:
        listener.set(said.append)
        await provider.ask(MESSAGES, WrittenAnswer)

    with odd_server(echoing(status)) as server:
        provider = provider_at(server.url, api_key_env="TEST_KEY", structured="text")
        with pytest.raises((LLMError, ProviderUnusable)) as raised:
            run(asking(), Call(last=True))
    error = raised.value
    shown = [
        str(error),
        repr(error),
        str(vars(error)),
        "".join(traceback.format_exception(error)),
        repr(pickle.loads(pickle.dumps(error))),
        repr(copy.copy(error)),
        pickle.dumps(error).decode("latin-1"),
        *(exchange.reply for exchange in said if status != 200),
    ]
    assert [text for text in shown if "hunter2" in text or "sk-h" in text] == []
    assert "***" in str(error)


def test_a_key_is_taken_out_before_a_text_is_cut() -> None:
    """Half of a key is half of a key."""
    for room in range(230, 310, 7):
        with odd_server(failing(500, "x" * room + KEY)) as server, pytest.raises(LLMError) as raised:
            chat(provider_at(server.url, api_key_env="TEST_KEY"))
        assert "sk-h" not in str(raised.value)


def test_an_invalid_reply_is_shown_without_the_key() -> None:
    """Of a model that was told it, by mistake."""
    with odd_server(replying(f"Your key is {KEY}")) as server, pytest.raises(InvalidOutput) as raised:
        run(provider_at(server.url, api_key_env="TEST_KEY").ask(MESSAGES, WrittenAnswer))
    assert str(raised.value) == "main: no JSON in the reply: 'Your key is ***'"


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_run_leaves_no_trace_of_the_key(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """In its database, its log and its output."""
    path = tmp_path / "bank.db"
    first = True

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        nonlocal first
        good, first = first, False
        return await (answering(completion('{"answer": "7"}')) if good else echoing(status))(request, body)

    caplog.set_level(logging.DEBUG)
    with odd_server(answer) as server, structlog.testing.capture_logs() as logs:
        provider = provider_at(server.url, api_key_env="TEST_KEY", structured="text")
        stage = Stage("asking", partial(ask, provider=provider), retry=SOON, concurrency=1)
        pipeline = Pipeline(stage, sink=DatabaseSink(f"sqlite:///{path}"), store=RunStore())
        if status == 401:
            with pytest.raises(ProviderUnusable):
                pipeline.run(range(4))
        else:
            assert pipeline.run(range(4)).failed == 3
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"asking" in stored
    assert b"hunter2" not in stored
    assert "hunter2" not in caplog.text
    assert "hunter2" not in str(logs)
    assert "hunter2" not in "".join(capfd.readouterr())


def test_check_says_where_a_key_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And shows none that is there."""
    config = tmp_path / "pipeline.yaml"
    config.write_text(
        "providers: {main: {model: m, base_url: 'http://127.0.0.1:9/v1', api_key_env: TEST_KEY}}\n"
        "stages: [{name: a, call: 'rxpipe.questions.llm:generate', with: {provider: main}}]\n"
    )
    ended = rxpipe("check", config)
    assert (ended.code, "hunter2" in ended.out + ended.err) == (0, False)
    monkeypatch.delenv("TEST_KEY")
    assert "providers.main.api_key_env: the environment variable TEST_KEY is not set, nor TEST_KEY_FILE" in refused(
        "check", config
    )
