"""The base of all sections of a config, and the types of their keys.

A type says in words what it allows, right beside its limits, for the error messages.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, LiteralString, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from rxpipe.config.error_texts import NOT_ALLOWED, NOT_SHOWN, SAID, says
from rxpipe.errors import ConfigError
from rxpipe.secret_values import filled

Count: TypeAlias = Annotated[int, Field(ge=1), says("a whole number, 1 or more")]
CountFromZero: TypeAlias = Annotated[int, Field(ge=0), says("a whole number, 0 or more")]
Integer: TypeAlias = Annotated[int, Field(ge=-(2**63), lt=2**63), says("a whole number of at most 64 bits")]
Seconds: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False), says("a number of seconds above 0")]
Delay: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False), says("a number of seconds, 0 or more")]
Cost: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False), says("a number above 0")]
Factor: TypeAlias = Annotated[float, Field(ge=1, allow_inf_nan=False), says("a number, 1 or more")]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1), says("a number from 0 to 1")]
Text: TypeAlias = Annotated[str, Field(pattern=r"\S"), says("text that is not blank")]
StageName: TypeAlias = Annotated[
    str, Field(pattern=r"^\S(.*\S)?$"), says("a name: text on one line, with no space around it")
]
TARGET = r"^[^\s:]+:[^\s:]+$"
Target: TypeAlias = Annotated[
    str, Field(pattern=TARGET), says("a function as module:function, like my_stages:generate")
]


def _filled(value: Any) -> Any:
    """Fill the secrets into a URL. Errors never show a secret."""
    if not isinstance(value, str) or "${" not in value:
        return value
    try:
        url = filled(value)
    except ConfigError as error:
        raise PydanticCustomError(SAID, "{text}", {"text": str(error)}) from None
    if not re.match(_SCHEME, url):
        raise PydanticCustomError(NOT_SHOWN, _A_URL)
    return url


_SCHEME = r"^[A-Za-z][\w+.-]*://"
_A_URL: LiteralString = "a database URL, like sqlite:///questions.db or postgresql+psycopg://user@host/name"
Url: TypeAlias = Annotated[
    str,
    Field(pattern=rf"{_SCHEME}|^\$\{{\w+\}}$"),  # the schema is of the file: a variable may be the whole URL
    says(_A_URL),
    BeforeValidator(_filled),
]


def without_nulls(schema: dict[str, Any]) -> None:
    """Remove null from a section's schema. None only means that the key is absent, and is no value."""
    for name, key in schema["properties"].items():
        if key.get("default", ...) is None:
            kinds = [kind for kind in key["anyOf"] if kind != {"type": "null"}]
            allowed = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
            schema["properties"][name] = {"description": key["description"], **allowed}


class Section(BaseModel):
    """A mapping in the file: frozen, no unknown keys, no conversions between types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra=without_nulls)

    @field_validator("*", mode="before")
    @classmethod
    def _not_null(cls, value: Any) -> Any:
        """Refuse a key with an empty value, which is probably unfinished. None only means that there is no key."""
        if value is None:
            raise PydanticCustomError(NOT_ALLOWED, "a value, or leave the key out for its default")
        return value
