"""Structured output: a pydantic model as the JSON schema that is asked for, and what is made of a reply."""

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
# Up to where they end, or all of the text if they do not; some servers keep the tag back that they begin with.
_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A(?!\s*[{`]).*?</think(?:ing)?>", re.DOTALL)
# What strict modes of servers do not take; a reply is checked against all of it here.
_LEFT_OUT = frozenset({"title", "default", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"})
_COUNTS = ("minItems", "maxItems")  # a small model finds no end of a list, either

_decoder = json.JSONDecoder()


def schema_of(output: type[BaseModel], *, longest: int | None = None) -> dict[str, Any]:
    """The ``response_format`` that asks for an output.

    Args:
        output: What the reply is to be.
        longest: Characters that any text in it may have, for servers that hold the model to the schema: also to how
            many items a list has.
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
        if key in ("properties", "$defs"):  # names here, not keywords
            strict[key] = {name: _strict(one, longest) for name, one in value.items()}
        elif key not in _LEFT_OUT or (longest is not None and key in _COUNTS):
            strict[key] = _strict(value, longest)
    if strict.get("type") == "object":
        strict |= {"additionalProperties": False, "required": list(strict.get("properties", {}))}
    if strict.get("type") == "string" and "enum" not in strict and longest is not None:
        strict["maxLength"] = longest
    return strict


def parse(text: str, output: type[M]) -> M:
    """What a reply says, as the output that was asked for.

    Leniently: the JSON may stand within prose, in a code fence, or behind a model's thoughts. The first object that
    is valid counts.

    Raises:
        InvalidOutput: There is none; the text of the error has all of the reply at its end.
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
    """The JSON objects in a text, in order; what is within one that was read is not tried by itself."""
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
