"""The ID of a row: one of its fields, or made of its content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rxpipe.config.error_texts import shown
from rxpipe.config.sources.flaws import Flaws
from rxpipe.config.sources.spool import Repeats
from rxpipe.database.encoding import json_text
from rxpipe.errors import ConfigError
from rxpipe.pipeline.record import Record, content_id

HASH = "hash"
"""The value of ``id`` for an ID made of the row's content."""


def records(rows: Iterable[tuple[int, dict[str, Any]]], by: str, flaws: Flaws) -> Iterator[Record]:
    """Turn numbered rows into records. Rows without a unique ID become flaws.

    Args:
        rows: The rows, each with the number of its line or row.
        by: The field that is the ID, or ``hash``.
        flaws: Problems are added to these.
    """
    repeated = Repeats()
    for number, row in rows:
        if by != HASH and by not in row:
            flaws.add(number, f"no field {by!r} to be the ID")
            continue
        one = hash_of(row) if by == HASH else row[by]
        if isinstance(one, str):
            one = one.strip()
        if one is None or one == "":
            flaws.add(number, "the ID is blank; give each an ID of its own, or use id: hash")
        elif flaw := id_flaw(one):
            flaws.add(number, flaw, shown(one))
        elif repeated(one):
            what = "the content of an earlier one" if by == HASH else "an ID that an earlier one has"
            flaws.add(number, f"{what}; keep each once", "" if by == HASH else repr(one))
        else:
            yield Record(one, row)


def id_flaw(one: object) -> str | None:
    """Returns why a value cannot be an ID; None if the value can."""
    if isinstance(one, bool) or not isinstance(one, int | str):
        return "the ID is neither a whole number nor text"
    if isinstance(one, str) and "\0" in one:
        return "a NUL within the ID"
    return None


def hash_of(row: Mapping[str, Any]) -> str:
    """Returns an ID made of a row's content. The row may have dates and similar values.

    Raises:
        ConfigError: The row has a value that is no data.
    """
    try:
        return content_id(row)
    except ConfigError:
        return content_id(json.loads(json_text(row)))
