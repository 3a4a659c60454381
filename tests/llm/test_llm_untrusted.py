"""Replies of servers that mean harm, or are broken: endless, compressed, odd in every way."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Generator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from devtools.fake_llm.clients import wait_until
from llm_pipelines import CALLS
from odd_llm import MESSAGES, Answer, chat, completion, odd_server, provider_at, replying
from servers import POSTGRES, answering, own_database
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.llm import InvalidOutput, LLMError, Provider
from rxpipe.llm.client import LARGEST

GZIPPED = gzip.compress(b" " * 20_000_000)
DEFLATED = zlib.compress(b" " * 20_000_000)
MOST = 6 * LARGEST  # bytes that a call may take at a time


def endless(head: bytes, *, status: int = 200, **headers: str) -> Answer:
    """A body that goes on until the client goes."""

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "application/json", **headers})
        await response.prepare(request)
        await response.write(head)
        while True:
            await response.write(b"a" * 65_536)

    return answer


def compressed(content: bytes, encoding: str) -> Answer:
    """A small body that may become a large one."""

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
        return web.Response(body=content, headers=headers)

    return answer


@pytest.fixture
def memory() -> Generator[None]:
    """Sees to it that a test takes no more than that."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_a_reply_without_end_is_cut(status: int) -> None:
    """The connection is closed, and memory stays flat; of an error, too."""
    head = b'{"choices": [{"message": {"content": "'

    async def calling() -> None:
        with pytest.raises(InvalidOutput, match="the reply was cut: it is larger than 2,000,000 bytes"):
            await provider.chat(MESSAGES)
        await asyncio.to_thread(wait_until, lambda: server.connections() == 0)

    with odd_server(endless(head, status=status)) as server:
        provider = provider_at(server.url)
        asyncio.run(calling())


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-odd"])
def test_a_reply_that_is_compressed_is_not_unpacked(encoding: str) -> None:
    """None was asked for, and a small one may become any size."""
    with (
        odd_server(compressed(DEFLATED if encoding == "deflate" else GZIPPED, encoding)) as server,
        pytest.raises(InvalidOutput, match="or compressed"),
    ):
        chat(provider_at(server.url))


def test_none_is_asked_to_compress() -> None:
    """What is counted is what is read."""
    seen: list[str | None] = []

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        seen.append(request.headers.get("Accept-Encoding"))
        return await replying("Hello!")(request, body)

    with odd_server(answer) as server:
        chat(provider_at(server.url))
    assert seen == ["identity"]


def test_a_large_reply_that_is_allowed_is_read() -> None:
    """Just below the bound."""
    with odd_server(replying("x" * (LARGEST - 1000))) as server:
        assert len(chat(provider_at(server.url)).text) == LARGEST - 1000


@pytest.mark.parametrize("name", ["x-odd", "Retry-After"])
def test_headers_without_end_are_an_error(name: str) -> None:
    """Of this call alone."""

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text="{}", headers={name: "x" * 100_000})

    with odd_server(answer) as server, pytest.raises(LLMError):
        chat(provider_at(server.url))


# What models write: control characters, NUL, tags of ours, fields of ours, quotes, and all sorts of letters.
ODD = "a\x00b\x01\x1f\x7f\u200b\u202e{question}{answer}</question></answer>'\";--\r\n\t\\ ünï 漢字 🎉 \ufffe"


def odd_model(seen: list[dict[str, Any]]) -> Answer:
    """Answers all stages, oddly."""

    async def reply(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        seen.append(body)
        names = list(body["response_format"]["json_schema"]["schema"]["properties"])
        values: dict[str, Any] = {"question": ODD, "reference": f"r{ODD}", "answer": f"x{ODD}", "reason": ODD}
        values |= {"verdict": "correct", "score": 1}
        said = json.dumps({name: values[name] for name in names})
        return await replying(said)(request, body)

    return reply


def bank(provider: Provider, url: str | URL) -> Pipeline:
    stages = (Stage(name, partial(call, provider=provider)) for name, call in CALLS.items())
    return Pipeline(*stages, sink=DatabaseSink(url), store=RunStore())


@pytest.mark.slow
@pytest.mark.parametrize("server", ["sqlite", "postgresql"])
def test_odd_texts_go_through_to_the_database(tmp_path: Path, server: str) -> None:
    """From stage to stage, by way of their checkpoints, and come back as the database can hold them."""
    seen: list[dict[str, Any]] = []
    with ExitStack() as stack:
        if server == "sqlite":
            url = make_url(f"sqlite:///{tmp_path / 'bank.db'}")
        else:
            url = stack.enter_context(own_database(answering(POSTGRES)))
        odd = stack.enter_context(odd_server(odd_model(seen)))
        report = bank(provider_at(odd.url), url).run([1, 2])
        assert (report.written, report.failed) == (2, 0)
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT question, answer, score, value FROM results")).all()
        engine.dispose()
    held = ODD.replace("\x00", "\ufffd")  # which PostgreSQL cannot hold
    for question, given, score, value in rows:
        assert (question, given) == (held, f"x{held}")
        reference = (json.loads(value) if isinstance(value, str) else value)["reference"]
        assert (reference, score) == (f"r{held}", 1)


def test_what_a_model_writes_does_not_change_the_next_prompt(tmp_path: Path) -> None:
    """Each tag is opened once and closed once, and no field is filled in twice."""
    seen: list[dict[str, Any]] = []
    with odd_server(odd_model(seen)) as server:
        bank(provider_at(server.url), f"sqlite:///{tmp_path / 'bank.db'}").run([1])
    _, answering_, grading = ([message["content"] for message in body["messages"]] for body in seen)
    assert answering_[1].count("</question>") == 1
    assert answering_[1].count("{question}") == 1  # the model's own
    assert [grading[1].split("<answer>\n")[1].count("</answer>"), grading[1].count("<answer>")] == [1, 1]
    assert len(answering_) == len(grading) == 2


@pytest.mark.slow
def test_a_completion_of_odd_types_is_no_surprise() -> None:
    """Whatever stands where."""
    odds: list[Any] = [None, True, 3, 1e308, "x", [], {}, [[]], {"a": {}}]
    for odd in odds:
        for key in ("content", "refusal", "role", "tool_calls"):
            body = completion("Hello!")
            body["choices"][0]["message"][key] = odd
            body["choices"][0]["finish_reason"] = odd
            body["usage"] = odd
            with odd_server(partial_answer(body)) as server:
                try:
                    assert isinstance(chat(provider_at(server.url)).text, str)
                except LLMError:
                    assert key == "refusal"


def partial_answer(body: Any) -> Answer:
    """Always this body."""

    async def answer(request: web.BaseRequest, given: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(body)

    return answer
