"""Structured output: makes a JSON schema of a pydantic model, and reads the reply as that model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from rxpipe.llm.errors import InvalidOutput

M = TypeVar("M", bound=BaseModel)

_MOST_TRIED = 100  # places in a text where JSON may begin
_MOST_READ = 1_000_000  # characters that are read in vain from there
# Thoughts end at their closing tag, or with the text. Some servers leave out the opening tag.
_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A(?!\s*[{`]).*?</think(?:ing)?>", re.DOTALL)
# Keywords that strict modes of servers refuse. Here a reply is checked against all of them.
_LEFT_OUT = frozenset({"title", "default", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"})
_COUNTS = ("minItems", "maxItems")  # a small model may never end a list

_decoder = json.JSONDecoder()


def schema_of(output: type[BaseModel], *, longest: int | None = None) -> dict[str, Any]:
    """Returns the ``response_format`` that asks for an output.

    Args:
        output: The pydantic model of the reply.
        longest: The most characters of each text in the reply, for servers that hold the model to the schema. With a
            number, the schema also limits how many items a list has.
    """
    schema = _strict(output.model_json_schema(), longest)
    return {"type": "json_schema", "json_schema": {"name": output.__name__, "strict": True, "schema": schema}}


def _strict(schema: Any, longest: int | None) -> Any:
    if isinstance(schema, list):
        return [_strict(one, longest) for one in cast("Iterable[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    strict: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", schema).items():
        if key in ("properties", "$defs"):  # their keys are names, not keywords
            strict[key] = {name: _strict(one, longest) for name, one in value.items()}
        elif key not in _LEFT_OUT or (longest is not None and key in _COUNTS):
            strict[key] = _strict(value, longest)
    if strict.get("type") == "object":
        strict |= {"additionalProperties": False, "required": list(strict.get("properties", {}))}
    if strict.get("type") == "string" and "enum" not in strict and longest is not None:
        strict["maxLength"] = longest
    return strict


def parse(text: str, output: type[M]) -> M:
    """Read a reply as the output that was asked for.

    The JSON may stand within prose, in a code fence, or behind a model's thoughts. The first valid object counts.

    Raises:
        InvalidOutput: The reply has no valid object. The error's text ends with the whole reply.
    """
    problem: ValidationError | None = None
    for found in _objects(_THOUGHTS.sub("", text)):
        try:
            return output.model_validate(found)
        except ValidationError as error:
            problem = problem or error
    if problem is None:
        what = "no complete JSON" if "{" in text else "no JSON"
        raise InvalidOutput(f"{what} in the reply: {text!r}" if text.strip() else "the reply is empty")
    first = problem.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"])) or "it"
    raise InvalidOutput(f"the reply does not fit: {place}: {first['msg']}; in {text!r}")


def _objects(text: str) -> Iterator[Any]:
    """Yields the JSON objects in a text, in order, without the objects inside them."""
    start, read = text.find("{"), 0
    for _ in range(_MOST_TRIED):
        if start < 0 or read > _MOST_READ:
            return
        try:
            found, end = _decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            read += getattr(error, "pos", start) - start
            start = text.find("{", start + 1)
        else:
            yield found
            start = text.find("{", end)
