"""The section of a config about the source of IDs and records."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from rxpipe.config.error_texts import NOT_ALLOWED, says
from rxpipe.config.section_base import Integer, Section, Target, Text, Url, without_nulls


def _encoding(name: str) -> str:
    "".encode(name)  # raises LookupError also for encodings that are not for text, such as base64
    return codecs.lookup(name).name


def _known_encoding(name: str) -> str:
    try:
        return _encoding(name)
    except (LookupError, UnicodeError) as error:
        raise ValueError from error


Encoding: TypeAlias = Annotated[
    str, AfterValidator(_known_encoding), says("the name of an encoding, like utf-8, utf-16, gb18030 or latin-1")
]
Delimiter: TypeAlias = Annotated[
    str, Field(pattern=r'^[^\r\n" ]$'), says("one character that is no quote, space or line end, like ; or \\t")
]


def _range_schema(schema: dict[str, Any]) -> None:
    """Add the two short forms to the schema beside the mapping, as in the file."""
    without_nulls(schema)
    mapping = dict(schema)
    schema.clear()
    schema["description"] = "A count (1, 2, 3, ...), [start, stop], [start, stop, step], or a mapping of them."
    number = {"type": "integer"}
    schema["anyOf"] = [
        {**number, "minimum": 1},
        {"type": "array", "items": number, "minItems": 2, "maxItems": 3},
        mapping,
    ]


class RangeConfig(Section):
    """IDs that are whole numbers, as Python's ``range`` gives them."""

    model_config = ConfigDict(json_schema_extra=_range_schema)

    start: Integer = Field(default=1, description="The first ID.")
    stop: Integer | None = Field(
        default=None,
        description="End of the range: the first number that is not an ID. Default: the range has 100 IDs.",
    )
    step: Integer = Field(default=1, description="Step from one ID to the next; not 0.")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        match value:
            case int() if not isinstance(value, bool) and 1 <= value < 2**63 - 1:
                return {"stop": value + 1}
            case [start, stop]:
                return {"start": start, "stop": stop}
            case [start, stop, step]:
                return {"start": start, "stop": stop, "step": step}
            case Mapping() | RangeConfig():
                return value  # pyright: ignore[reportUnknownVariableType] - what it holds is checked next
            case _:
                raise PydanticCustomError(
                    NOT_ALLOWED,
                    "a count of 1 or more, [start, stop], [start, stop, step] or a mapping of them",
                )

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.step == 0 or not self.ids():
            raise PydanticCustomError(NOT_ALLOWED, "a range with at least one ID in it, and a step that is not 0")
        return self

    def ids(self, count: int | None = None) -> range:
        """Returns the IDs. With ``count``, exactly that many from the start, whatever ``stop`` says."""
        if count is None and self.stop is not None:
            return range(self.start, self.stop, self.step)
        return range(self.start, self.start + self.step * (100 if count is None else count), self.step)


KINDS = ("range", "rows", "file", "csv", "jsonl", "parquet", "sql", "call")
NEED_ID = ("rows", "csv", "jsonl", "parquet")
"""Kinds whose records have an ID only if ``id`` says where it is."""
BESIDE: Mapping[str, tuple[str, ...]] = {
    "id": (*NEED_ID, "sql", "call"),
    "on_change": (*NEED_ID, "sql", "call"),
    "delimiter": ("csv",),
    "encoding": ("csv", "jsonl"),
    "url": ("sql",),
}
"""Keys of a source that only some kinds have."""


def _source_schema(schema: dict[str, Any]) -> None:
    without_nulls(schema)
    schema["oneOf"] = [{"required": [kind]} for kind in KINDS]
    schema["dependentRequired"] = {kind: ["id"] for kind in NEED_ID}


class SourceConfig(Section):
    """Where the IDs or records come from: one of these kinds. Files are found from the config file's folder."""

    model_config = ConfigDict(json_schema_extra=_source_schema)

    range: RangeConfig | None = Field(
        default=None, description="Whole numbers: a count, [start, stop], [start, stop, step], or a mapping."
    )
    rows: Annotated[tuple[Mapping[Text, Any], ...], Field(strict=False)] | None = Field(
        default=None,
        description="Records in the config itself: a list of mappings, such as [{id: 1, topic: sums}]. An empty "
        "list is a source of nothing.",
    )
    file: Text | None = Field(
        default=None,
        description="Text file in UTF-8 with one ID a line. The path starts from the config file's folder.",
    )
    csv: Text | None = Field(
        default=None, description="CSV file with a header. Each row is a record: a dict with the fields as text."
    )
    jsonl: Text | None = Field(default=None, description="File with one JSON object a line. Each object is a record.")
    parquet: Text | None = Field(
        default=None, description="Parquet file. Each row is a record. Needs the extra parquet."
    )
    sql: Text | None = Field(
        default=None, description="Query. The first column of each row is the ID. With id, each row is a record."
    )
    call: Target | None = Field(
        default=None,
        description="Function, as module:function. rxpipe calls it without arguments. It gives an iterable or "
        "async iterable of IDs or Records; with id, of mappings or objects.",
    )
    id: Text | None = Field(
        default=None,
        description="Column, key or attribute with the ID of a record; or hash, to make the ID of the content.",
    )
    on_change: Literal["keep", "redo", "fail"] = Field(
        default="keep",
        description="What happens when a record of the run comes again with another value. keep: the run keeps the "
        "old value. redo: the new value goes through the stages. fail: the run is refused.",
    )
    delimiter: Delimiter | None = Field(
        default=None,
        description="Character between the fields of a csv file. Default: a tab if the file ends in .tsv, else a "
        "comma.",
    )
    encoding: Encoding | None = Field(
        default=None,
        description="Encoding of a csv or jsonl file. Default: the encoding of its byte order mark, else UTF-8.",
    )
    url: Url | None = Field(
        default=None, repr=False, description="URL of the query's database. Default: the database of the results."
    )

    @property
    def gives_records(self) -> bool:
        """True if the stages get records of this source. An empty list of rows says nothing about the stages."""
        return self.id is not None and self.rows != ()
