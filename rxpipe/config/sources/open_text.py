"""Opens text files in any encoding. One wrong byte does not hide other wrong bytes."""

from __future__ import annotations

import codecs
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

UNREADABLE = "\udcff"
"""Replaces bytes that are not in the encoding. Decoded text contains it nowhere else."""

_HANDLER = "rxpipe.unreadable"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of UTF-16, which is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return UNREADABLE, error.end
    raise error


codecs.register_error(_HANDLER, _replaced)


@contextmanager
def open_text(path: Path, encoding: str | None, *, newline: str) -> Generator[tuple[TextIO, str]]:
    """Yields a text file, and the message for bytes that are not in its encoding.

    Args:
        path: The file.
        encoding: The file's encoding; by default that of its byte order mark, else UTF-8.
        newline: As for ``open``.

    Raises:
        OSError: The file cannot be opened.
    """
    found = encoding or _encoding_of(path)
    flaw = f"not {found.removesuffix('-sig').upper()}; save the file so, or give its encoding with encoding:"
    with path.open(encoding=found, errors=_HANDLER, newline=newline) as file:
        if file.read(1) != "\ufeff":  # a byte order mark that the encoding does not remove
            file.seek(0)
        yield file, flaw


def _encoding_of(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), "utf-8")
