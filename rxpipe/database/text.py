"""Text that every database takes."""

from __future__ import annotations


def clean_text(text: str) -> str:
    """Returns the text with U+FFFD for every NUL and every lone surrogate. A subclass of ``str`` becomes plain."""
    if type(text) is not str:
        text = str.__str__(text)  # not str(): that of an enum is its name
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    # Encoding is the quickest way to find surrogates: a regular expression takes 50 times as long.
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
