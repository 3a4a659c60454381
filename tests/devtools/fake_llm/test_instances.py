"""Instances of JSON schemas."""

from __future__ import annotations

from typing import Any

import pytest

from rxpipe.devtools.fake_llm.schema_instances import Instances


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "minLength": 6}, "text.."),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "number"}, 1),
        ({"type": "number", "minimum": 2.5}, 2.5),
        ({"type": "number", "maximum": -2.5}, -2.5),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "integer", "minimum": 2.5}, 3),
        ({"type": "integer", "minimum": -9, "maximum": 9}, 1),
        ({"type": "integer", "exclusiveMaximum": 0}, -1),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["integer", "null"]}, 1),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 7}, 7),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 0}, []),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "boolean"}}}, True),
        ({}, None),
    ],
)
def test_every_type_has_an_instance(schema: dict[str, Any], instance: Any) -> None:
    """Within the bounds that the schema has."""
    made = Instances(schema).make()
    assert made == instance
    assert type(made) is type(instance)


def test_an_object_has_what_is_required() -> None:
    """In the schema's order, and nothing else."""
    properties = {name: {"type": "integer"} for name in ("c", "a", "b")}
    made = Instances({"type": "object", "properties": properties, "required": ["a", "c"]}).make()
    assert list(made.items()) == [("c", 1), ("a", 1)]


def test_known_values_are_put_in_where_there_is_a_property() -> None:
    """Required or not."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["b"]}
    assert Instances(schema).make({"a": "known", "c": "unknown"}) == {"a": "known", "b": "text"}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/gone"},
        {"type": "object", "properties": {"it": {"$ref": "#"}}, "required": ["it"]},
        {"type": "array", "items": {"$ref": "#"}},
        {"type": "array", "minItems": "many"},
        {"type": "object", "properties": [], "required": 3},
        {"anyOf": 3},
        {"type": "nonsense"},
    ],
)
def test_a_schema_without_end_or_sense_has_one_as_well(schema: dict[str, Any]) -> None:
    """Some value, without an error."""
    Instances(schema).make()
