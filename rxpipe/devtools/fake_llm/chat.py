"""Reads a request for a completion, or finds what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from rxpipe.devtools.fake_llm.draws import key_of
from rxpipe.devtools.fake_llm.json_values import as_array, as_object
from rxpipe.devtools.fake_llm.responses import Refusal, error, no_such_model
from rxpipe.llm.tokens import about_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A request for a completion.

    Attributes:
        model: The model's name, as the client writes it.
        key: The key of the request's messages.
        form: The form of the reply.
        schema: The JSON schema of the reply; None without one.
        user: The text of the last message of a user.
        prompt_tokens: Estimated tokens of all messages.
    """

    model: str
    key: str
    form: Literal["text", "json_object", "json_schema"]
    schema: dict[str, Any] | None
    user: str
    prompt_tokens: int


def parse(body: bytes, *, no_schema: bool) -> ChatRequest:
    """Read a request's body.

    Args:
        body: The body, as JSON.
        no_schema: True to refuse a JSON schema.

    Raises:
        Refusal: The request cannot be answered.
    """
    try:
        given: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise _bad("We could not parse the JSON body of your request.") from None
    if not isinstance(given, dict):
        raise _bad("The JSON body of your request is not an object.")
    request = as_object(given)
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise _bad("you must provide a model parameter")
    if model.startswith("no-"):
        raise Refusal(no_such_model(model))
    if request.get("stream"):
        raise _bad("Unsupported value: 'stream': this server does not stream.", "stream", "unsupported_value")
    messages, texts = _messages(request)
    form, schema = _response_format(request.get("response_format"), no_schema)
    return ChatRequest(
        model=model,
        key=key_of(messages),
        form=form,
        schema=schema,
        user=next((text for role, text in reversed(texts) if role == "user"), ""),
        prompt_tokens=max(1, int(about_tokens("".join(text for _, text in texts)))),
    )


def _bad(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    return Refusal(error(400, message, param=param, code=code))


def _messages(request: dict[str, Any]) -> tuple[list[Any], list[tuple[str, str]]]:
    messages = request.get("messages")
    if messages is None:
        raise _bad("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    if not (given := as_array(messages)):
        raise _bad("Invalid 'messages': expected an array of one or more.", "messages", "invalid_type")
    return given, [_message(message, f"messages[{index}]") for index, message in enumerate(given)]


def _message(message: Any, where: str) -> tuple[str, str]:
    """Returns the role and the text of a message."""
    fields = as_object(message)
    role, content = fields.get("role"), fields.get("content")
    if not isinstance(role, str):
        raise _bad(f"Missing required parameter: '{where}.role'.", f"{where}.role", "missing_required_parameter")
    if content is None or isinstance(content, str):
        return role, content or ""
    if isinstance(content, list):
        texts = [as_object(part).get("text") for part in as_array(content)]
        return role, "".join(text for text in texts if isinstance(text, str))
    raise _bad(f"Invalid type for '{where}.content'.", f"{where}.content", "invalid_type")


def _response_format(
    given: Any, no_schema: bool
) -> tuple[Literal["text", "json_object", "json_schema"], dict[str, Any] | None]:
    if given is None:
        return "text", None
    fields = as_object(given)
    form = fields.get("type")
    if form in ("text", "json_object"):
        return form, None
    if form != "json_schema":
        text = "Invalid value: 'response_format.type'. Supported values are: 'json_object', 'json_schema' and 'text'."
        raise _bad(text, "response_format.type", "invalid_value")
    if no_schema:
        text = "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."
        raise _bad(text, "response_format")
    schema = as_object(fields.get("json_schema")).get("schema")
    if not isinstance(schema, dict):
        where = "response_format.json_schema.schema"
        raise _bad(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")
    return "json_schema", as_object(schema)
