"""Estimates the tokens of a text, for servers that do not count and for the fake server."""

from __future__ import annotations

import re

_CHARACTERS = 4  # characters of a token, in most scripts
# Chinese, Japanese and Korean characters, and their punctuation. Tokenizers make about one token of each.
_WIDE = re.compile(
    "[\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)


def about_tokens(text: str) -> float:
    """Returns one token for each Chinese, Japanese or Korean character, and a quarter for any other."""
    others = len(text) if text.isascii() else len(_WIDE.sub("", text))
    return len(text) - others + others / _CHARACTERS
