"""An instance of a JSON schema: a plain value for each required part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rxpipe.devtools.fake_llm.json_values import as_array, as_object

_DEEPEST = 8  # levels of a schema that contains itself
_LONGEST = 1000  # most elements of a text or an array, whatever a schema says


class Instances:
    """Makes instances of a schema and of its parts."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Describe the schema.

        Args:
            schema: The outermost schema, in which references are looked up.
        """
        self._root = schema

    def resolved(self, schema: Any) -> dict[str, Any]:
        """Returns a schema without a reference or alternatives at its top. Of alternatives, the first counts."""
        fields = as_object(schema)
        for _ in range(_DEEPEST):
            if isinstance(reference := fields.get("$ref"), str):
                target: Any = self._root
                for step in reference.removeprefix("#").strip("/").split("/"):
                    target = as_object(target).get(step.replace("~1", "/").replace("~0", "~")) if step else target
                fields = as_object(target)
            elif (of := next((fields[name] for name in ("anyOf", "oneOf", "allOf") if fields.get(name)), None)) is None:
                return fields
            else:
                fields = as_object(next(iter(as_array(of)), None))
        return {}

    @property
    def properties(self) -> Mapping[str, Any]:
        """The properties of the outermost schema."""
        return as_object(self.resolved(self._root).get("properties"))

    def make(self, known: Mapping[str, Any] | None = None) -> Any:
        """Returns an instance of the outermost schema.

        Args:
            known: Values for its properties. Values of other properties are left out.
        """
        return self._instance(self._root, _DEEPEST, known or {})

    def _instance(self, schema: Any, depth: int, known: Mapping[str, Any]) -> Any:
        fields = self.resolved(schema)
        if "const" in fields:
            return fields["const"]
        if enum := as_array(fields.get("enum")):
            return enum[0]
        match _type(fields):
            case "object":
                return self._object(fields, depth, known)
            case "array":
                least, most = _whole(fields.get("minItems"), 0), _whole(fields.get("maxItems"), 1)
                count = max(least, min(1, most)) if depth > _DEEPEST // 2 else least
                return [self._instance(fields.get("items"), depth - 1, {}) for _ in range(count if depth > 0 else 0)]
            case "string":
                return "text".ljust(_whole(fields.get("minLength"), 0), ".")[
                    : _whole(fields.get("maxLength"), _LONGEST)
                ]
            case "integer" | "number" as kind:
                return _number(fields, kind)
            case "boolean":
                return True
            case _:
                return None

    def _object(self, fields: dict[str, Any], depth: int, known: Mapping[str, Any]) -> dict[str, Any]:
        names = as_array(fields.get("required"))
        made: dict[str, Any] = {}
        for name, schema in as_object(fields.get("properties")).items():
            if name in known:
                made[name] = known[name]
            elif name in names and depth > 0:
                made[name] = self._instance(schema, depth - 1, {})
        return made


def _whole(value: Any, default: int) -> int:
    return max(0, min(value, _LONGEST)) if isinstance(value, int) else default


def _type(fields: dict[str, Any]) -> Any:
    given = fields.get("type")
    if given is None and "properties" in fields:
        return "object"
    return next(iter(as_array(given)), given)


def _number(fields: dict[str, Any], kind: str) -> float:
    """Returns the allowed number that is nearest to 1; a whole number if there is one."""

    def bound(name: str, otherwise: float) -> float:
        value = fields.get(name)
        return value if isinstance(value, (int, float)) and math.isfinite(value) else otherwise

    least, above = bound("minimum", -math.inf), bound("exclusiveMinimum", -math.inf)
    most, below = bound("maximum", math.inf), bound("exclusiveMaximum", math.inf)
    low = max(least, above if math.isinf(above) else math.floor(above) + 1)
    high = min(most, below if math.isinf(below) else math.ceil(below) - 1)
    if kind == "integer":
        low, high = (
            one if math.isinf(one) else rounded(one) for one, rounded in ((low, math.ceil), (high, math.floor))
        )
    elif low > high:  # between two whole numbers
        return (max(least, above) + min(most, below)) / 2
    return min(max(1, low), high)
