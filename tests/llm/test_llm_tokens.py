"""How many tokens a text has, about."""

from __future__ import annotations

import pytest

from rxpipe.llm.tokens import about_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("Hello", 1.25),
        ("Größe", 1.25),
        ("一个长方形的长是20米，宽是13米。", 14 + 1),
        ("面積はいくつですか？", 10),
        ("넓이는 얼마입니까?", 8 + 0.5),
        ("𠀀", 1),
    ],
)
def test_a_chinese_character_is_a_token(text: str, tokens: float) -> None:
    """Four letters are one."""
    assert about_tokens(text) == tokens
