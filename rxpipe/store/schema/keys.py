"""The keys of IDs, and characters that the encoding of a database does not have."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from typing import Any, cast

from pydantic_core import to_json
from sqlalchemy import Connection, Engine, event

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.json_rows import PARAMETER
from rxpipe.database.rows import key_text

_SHOWN = 200  # characters shown of an ID that cannot be a key
_DIGITS = 16  # digits of its hash
_STAND_IN = re.compile(rf" \(\d+ characters, [0-9a-f]{{{_DIGITS}}}\)$")
_ANY = frozenset({"UTF8", "SQL_ASCII", "MULE_INTERNAL"})  # PostgreSQL encodings that take any text, or any bytes


class Keys:
    """Makes the keys of IDs. An ID that cannot be a key has a stand-in, under which the store keeps its failure."""

    def __init__(self, codec: str | None = None) -> None:
        """Describe the keys.

        Args:
            codec: Python's name of the database's encoding; None if the encoding has all characters.
        """
        self._codec = codec

    def of(self, item_id: int | str) -> tuple[str, RowRefused | None]:
        """Returns an ID's key. If the key is a stand-in, also returns the reason."""
        try:
            key = key_text(item_id)
            if self._codec is not None:
                key.encode(self._codec)
        except RowRefused as error:
            return _stand_in(item_id), error
        except UnicodeEncodeError:
            return _stand_in(item_id), RowRefused(f"the ID {item_id!a} holds what the database's encoding has not")
        return key, None


def is_stand_in(key: str) -> bool:
    """Returns True if a key stands for an ID that cannot be a key."""
    return _STAND_IN.search(key) is not None


def codec_of(connection: Connection) -> str | None:
    """Returns Python's name of a database's encoding; None if the encoding has all characters."""
    if connection.dialect.name != "postgresql":
        return None
    driver: Any = connection.connection.driver_connection
    encoding = str(driver.info.parameter_status("server_encoding"))
    try:
        return None if encoding in _ANY else codecs.lookup(encoding.replace("WIN", "cp")).name
    except LookupError:
        return None


def escape_what_has_no_character(engine: Engine, codec: str) -> None:
    """Make a store's statements write missing characters as escapes. In JSON, the value stays the same."""

    def before(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> tuple[str, Any]:
        if not many and isinstance(parameters, dict):
            found = dict(cast("dict[str, Any]", parameters))
            for name, is_json in ((PARAMETER, True), ("to_error", False), ("to_output", False)):
                if isinstance(text := found.get(name), str) and not text.isascii():
                    found[name] = "".join(_escaped(one, codec, is_json=is_json) for one in text)
            return statement, found
        return statement, parameters

    event.listen(engine, "before_cursor_execute", before, retval=True)


def _escaped(character: str, codec: str, *, is_json: bool) -> str:
    try:
        character.encode(codec)
        return character
    except UnicodeEncodeError:
        escape = json.dumps(character)[1:-1]
        # For a text within JSON, which may be JSON itself, the backslash needs another backslash.
        return escape.replace("\\", "\\\\") if is_json else escape


def _stand_in(item_id: int | str) -> str:
    text = to_json(item_id).decode() if isinstance(item_id, int) else item_id
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{ascii(text)[1:-1][:_SHOWN]}... ({len(text)} characters, {digest})"
