"""Prompts: files with named fields, which users can replace."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from rxpipe.errors import ConfigError, StopRun
from rxpipe.llm.record_path import PATH, as_text, is_record_path, read_record

_FIELD = re.compile(rf"\{{([a-z_][a-z0-9_]*|{PATH})\}}")
_RECORD = "record"
# A paragraph for the feedback that an item was sent back with.
_FEEDBACK = re.compile(r"(?<![^\n])(?:[^\n]+\n)*?<feedback>\s*\{feedback\}\s*</feedback>(?:\n[^\n]+)*(?:\n\s*|$)")
_DIVIDER = re.compile(r"^---[ \t\r]*$", re.MULTILINE)


class Prompt:
    """A system message and a user message with fields like ``{topic}`` in them.

    ::

        You write questions for exams.
        ---
        Write a question about {topic}.

    - The text before a line of three dashes is the system message. Without such a line, all text is the user's message.
    - ``{record.level}`` is a field of the record that the source gave.
    - A field is a word in lower case, or a path into the record. Braces around any other text stay as they are.
    - A paragraph with ``<feedback>{feedback}</feedback>`` is left out if there is no feedback.

    Attributes:
        fields: The fields that may be used; ``record`` stands for all fields of the record.
        record_paths: The parts of the record that the text uses: ``record.level``, or ``record`` for all of the record.
        version: A hash of the text. When the version changes, results that a stage made with the old text do not apply
            any more.
    """

    def __init__(self, text: str, fields: Collection[str] | None = None, *, where: str = "the prompt") -> None:
        """Read a prompt's text.

        Args:
            text: The text.
            fields: The fields that will have values; ``None`` for the fields that the text uses.
            where: The prompt's name in errors.

        Raises:
            ConfigError: The text uses another field, or has no user's message.
        """
        used = dict.fromkeys(_FIELD.findall(text))
        self._where, self._used = where, tuple(dict.fromkeys(map(_base, used)))
        self.record_paths = tuple(field for field in used if _base(field) == _RECORD)
        self.fields = frozenset(self._used if fields is None else fields)
        if unknown := [field for field in self._used if field not in self.fields]:
            raise ConfigError(f"{where}: {_no_value(unknown[0], self.fields)}")
        divider = _DIVIDER.search(text)
        self._system = text[: divider.start()].strip() if divider else ""
        self._user = (text[divider.end() :] if divider else text).strip()
        if not self._user:
            raise ConfigError(f"{where}: there is no text for the user's message")
        self.version = hashlib.sha256(text.strip().encode()).hexdigest()[:12]

    @classmethod
    def read(cls, path: Path, fields: Collection[str] | None = None) -> Prompt:
        """Read a prompt from a file in UTF-8.

        Raises:
            ConfigError: The file cannot be read, or the prompt cannot be used.
        """
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError(f"{path}: the prompt cannot be read: {reason}") from None
        return cls(text, fields, where=str(path))

    def messages(self, **values: Any) -> list[dict[str, str]]:
        """Returns the messages, with values in place of the fields.

        Values may be text that users or models wrote, so they cannot break out of the prompt:

        - Text in a value that looks like a field stays as it is.
        - A value cannot close a tag that is named like its field, such as ``</answer>``, in any spelling.

        Raises:
            StopRun: A field that the text uses has no value and would have none in other calls either, or the record
                lacks a field.
        """
        if missing := [field for field in self._used if field not in values]:
            raise StopRun(f"{self._where}: {_no_value(missing[0], values)}")

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name in values:
                text = str(values[name]) if name != _RECORD else as_text(values[name])
            else:
                text = as_text(read_record(name, values[_RECORD], self._where))
            tags = "|".join(re.escape(one) for one in {name, name.removesuffix("?").rpartition(".")[2]})
            return re.sub(rf"<(?=\s*/\s*(?:{tags})\b)", "<\u200b", text, flags=re.IGNORECASE)

        messages = [("system", self._system), ("user", self._user)]
        if "feedback" in self._used and not values["feedback"]:
            messages = [(role, _FEEDBACK.sub("", text).strip()) for role, text in messages]
        return [{"role": role, "content": _FIELD.sub(value, text)} for role, text in messages if text]


def _base(field: str) -> str:
    return _RECORD if is_record_path(field) else field


def _no_value(field: str, known: Iterable[str]) -> str:
    hint = f"; a column {field} of the source's records is {{record.{field}}}" if _RECORD in known else ""
    return f"it has no value for the field {{{field}}}; allowed: {', '.join(sorted(known)) or 'none'}{hint}"
