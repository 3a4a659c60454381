"""Structured output: what is asked for, and what is made of replies of all sorts."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, Literal
from zlib import crc32

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st
from odd_llm import MESSAGES, Answer, completion, failing, odd_server, provider_at, replying, run
from pydantic import BaseModel, Field

from rxpipe.devtools.fake_llm import Behaviour, serving
from rxpipe.llm import InvalidOutput, PermanentError, Provider
from rxpipe.llm.structured import parse, schema_of
from rxpipe.questions.llm.values import WrittenAnswer


class Inner(BaseModel):
    title: str
    size: int = Field(default=1, ge=0)


class Output(BaseModel):
    kind: Literal["a", "b"]
    text: str = Field(min_length=1, max_length=50)
    inner: Inner | None = None


class Said(BaseModel):
    said: str


def said(text: str) -> str:
    return parse(text, Said).said


@pytest.mark.parametrize(
    "text",
    [
        '{"said": "x"}',
        '  \n{"said": "x"}\n',
        '```json\n{"said": "x"}\n```',
        '```\n{"said": "x"}\n``` and that is it.',
        'Here you are: {"said": "x"} Anything else?',
        '{"said": "x"}}}}',
        '{"said": "x"} {"said": "y"}',
        '{"other": 1} {"said": "x"}',
        '{not json} {"said": "x"}',
        '[{"said": "x"}, {"said": "y"}]',
        '{"said": "x", "more": {"said": "y"}}',
        '<think>maybe {"said": "y"}?</think>{"said": "x"}',
        '<thinking>\n{"said": "y"}\n</thinking>\n\n{"said": "x"}',
        'maybe {"said": "y"}?</think>{"said": "x"}',
        '{"said": "z", "said": "x"}',
        '\ufeff{"said": "x"}',
    ],
)
def test_the_first_valid_object_counts(text: str) -> None:
    """Whatever it stands in."""
    assert said(text) == "x"


@pytest.mark.parametrize(
    "text", ['{"said": "a } b { c"}', '{"said": "</think>"}', '{"said": "```"}', '{"said": "{\\"said\\": 1}"}']
)
def test_what_is_within_a_text_is_text(text: str) -> None:
    """Braces, fences and tags."""
    assert said(text) == parse(text, Said).said
    assert len(said(text)) > 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the reply is empty"),
        (" \n", "the reply is empty"),
        ("No.", "no JSON in the reply: 'No.'"),
        ('{"said": "x', """no complete JSON in the reply: '{"said": "x'"""),
        ('<think>{"said": "x"}', """no complete JSON in the reply: '<think>{"said": "x"}'"""),
        ("[1, 2]", "no JSON in the reply: '[1, 2]'"),
        ('{"sad": "x"}', """the reply does not fit: said: Field required; in '{"sad": "x"}'"""),
        ('{"said": [1]}', """the reply does not fit: said: Input should be a valid string; in '{"said": [1]}'"""),
        ('{"said": {"said": "x"}}', "the reply does not fit: said: Input should be a valid string"),
    ],
)
def test_what_is_not_there_is_told(text: str, message: str) -> None:
    """With the reply at the end, which callers cut."""
    with pytest.raises(InvalidOutput) as raised:
        said(text)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    "text",
    [
        "{" * 1_000_000,
        '{"a":' * 200_000,
        "[" * 1_000_000,
        '{"a":' * 100 + "[" + "1," * 900_000,
        '{"a":' * 100 + '"' + "x" * 1_900_000,
        "{}" * 500_000,
        '{"a":1}' * 200_000,
        "<think>" * 200_000,
        '{"said": ' + "9" * 1_000_000 + "}",
    ],
)
def test_a_reply_that_is_made_to_be_slow_is_not(text: str) -> None:
    """Nor does it end the process."""
    start = time.process_time()
    with pytest.raises(InvalidOutput):
        said(text)
    assert time.process_time() - start < 2


@given(st.text())
@example('{"answer": "\\ud800"}')
@example('{"answer": "\\u0000"}')
@example("{\x00}")
@example('{"answer": NaN}')
def test_any_text_gives_an_output_or_is_invalid(text: str) -> None:
    """Nothing else is raised, and what is given can be encoded."""
    with suppress(InvalidOutput):
        parse(text, WrittenAnswer).answer.encode()


def test_a_schema_is_one_that_strict_modes_take() -> None:
    """All keys are required, no others allowed, and limits left out; names are not mistaken for keywords."""
    form = schema_of(Output)
    schema = form["json_schema"]["schema"]
    assert (form["type"], form["json_schema"]["name"], form["json_schema"]["strict"]) == ("json_schema", "Output", True)
    assert (schema["required"], schema["additionalProperties"]) == (["kind", "text", "inner"], False)
    assert schema["properties"]["text"] == {"type": "string"}
    assert schema["properties"]["kind"] == {"enum": ["a", "b"], "type": "string"}
    assert schema["$defs"]["Inner"] == {
        "type": "object",
        "properties": {"title": {"type": "string"}, "size": {"type": "integer"}},
        "required": ["title", "size"],
        "additionalProperties": False,
    }


def test_a_schema_may_bound_all_texts() -> None:
    """For models that find no end."""
    schema = schema_of(Output, longest=300)["json_schema"]["schema"]
    assert schema["properties"]["text"] == {"type": "string", "maxLength": 300}
    assert schema["properties"]["kind"] == {"enum": ["a", "b"], "type": "string"}


def forms_of(bodies: list[dict[str, Any]]) -> list[str]:
    return [body.get("response_format", {}).get("type", "text") for body in bodies]


def knowing(*forms: str, status: int = 400) -> Answer:
    """Takes these forms only."""

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.sleep(0.001 * (crc32(str(body["messages"]).encode()) % 7))
        if forms_of([body])[0] not in forms:
            return await failing(status, "unknown response_format")(request, body)
        return await replying('{"said": "x"}')(request, body)

    return answer


async def ask_twice(provider: Provider) -> None:
    for _ in range(2):
        assert (await provider.ask(MESSAGES, Said)).said == "x"


@pytest.mark.parametrize("status", [400, 404, 422, 501])
@pytest.mark.parametrize(
    ("known", "asked"),
    [
        (["json_schema", "text"], ["json_schema", "json_schema"]),
        (["json_object", "text"], ["json_schema", "json_object", "json_object"]),
        (["text"], ["json_schema", "json_object", "text", "text"]),
    ],
)
def test_the_form_that_a_server_takes_is_found_out_once(known: list[str], asked: list[str], status: int) -> None:
    """From the strictest to none."""
    with odd_server(knowing(*known, status=status)) as server:
        run(ask_twice(provider_at(server.url)))
    assert forms_of(server.bodies) == asked


@pytest.mark.parametrize("known", ["json_object", "text"])
def test_the_form_is_found_out_by_calls_that_come_at_once(known: str) -> None:
    """None of them fails, whoever finds it out first, and it is remembered."""

    async def at_once() -> None:
        asked = [provider.ask([{"role": "user", "content": str(n)}], Said) for n in range(20)]
        assert [output.said for output in await asyncio.gather(*asked)] == ["x"] * 20
        assert (await provider.ask(MESSAGES, Said)).said == "x"

    with odd_server(knowing(known)) as server:
        provider = provider_at(server.url)
        run(at_once())
    assert forms_of(server.bodies).count(known) == 21
    assert forms_of(server.bodies[-1:]) == [known]


def test_the_fake_server_without_schemas_is_found_out() -> None:
    """As models are that know none."""
    messages = [{"role": "user", "content": "<question>How much is 1 + 1?</question>"}]
    with serving(Behaviour(no_schema=True)) as server:
        provider = provider_at(server.url)
        for _ in range(2):
            run(provider.ask(messages, WrittenAnswer))
        assert server.stats()["by_status"] == {"200": 2, "400": 1}


@pytest.mark.parametrize("form", ["json_schema", "json_object", "text"])
def test_a_form_that_is_given_is_not_left(form: Any) -> None:
    """The user knows it."""
    with odd_server(knowing()) as server:
        provider = provider_at(server.url, structured=form)
        with pytest.raises(PermanentError):
            run(provider.ask(MESSAGES, Said))
    assert forms_of(server.bodies) == [form]


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_request_that_is_not_taken_is_made_once(status: int) -> None:
    """When the form is known to work, it is not the form."""
    bad = False

    async def answer(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        return await (failing(status) if bad else replying('{"said": "x"}'))(request, body)

    with odd_server(answer) as server:
        provider = provider_at(server.url)
        run(provider.ask(MESSAGES, Said))
        bad = True
        with pytest.raises(PermanentError):
            run(provider.ask(MESSAGES, Said))
    assert server.calls == 2


def test_a_server_that_fails_is_not_taken_for_one_that_knows_no_form() -> None:
    """The next attempt asks for the same."""
    with odd_server(failing(500)) as server:
        provider = provider_at(server.url)
        for _ in range(2):
            with pytest.raises(Exception, match="500"):
                run(provider.ask(MESSAGES, Said))
    assert forms_of(server.bodies) == ["json_schema", "json_schema"]


def test_a_reply_that_was_cut_is_told_so() -> None:
    """It is the user's ``max_tokens`` that is too small."""
    with odd_server(replying('{"said": "an endl', reason="length")) as server, pytest.raises(InvalidOutput) as raised:
        run(provider_at(server.url).ask(MESSAGES, Said))
    assert str(raised.value) == (
        """main: the reply was cut at the most tokens allowed; no complete JSON in the reply: '{"said": "an endl'"""
    )


def test_a_long_reply_is_cut_in_the_error() -> None:
    """It fits in a line or three."""
    with odd_server(replying("blah " * 50_000)) as server, pytest.raises(InvalidOutput) as raised:
        run(provider_at(server.url).ask(MESSAGES, Said))
    assert len(str(raised.value)) < 320


def test_a_structured_that_is_none_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match=r"structured must be one of auto, json_schema, json_object, text, not 'yaml'"):
        provider_at("http://h/v1", structured="yaml")


def test_usage_of_an_invalid_reply_counts() -> None:
    """It is paid, too."""
    from odd_llm import Call

    with odd_server(replying("No.")) as server:
        call = Call()
        with pytest.raises(InvalidOutput):
            run(provider_at(server.url).ask(MESSAGES, Said), call)
    assert (call.usage.prompt_tokens, call.usage.completion_tokens) == (30, 10)


def test_a_completion_may_say_more_than_is_asked() -> None:
    """What is not known is left alone."""
    with odd_server(replying(**{"text": '{"said": "x", "why": 3}', "extra": {"a": 1}})) as server:
        assert run(provider_at(server.url).ask(MESSAGES, Said)) == Said(said="x")
    assert completion("x")["usage"]
