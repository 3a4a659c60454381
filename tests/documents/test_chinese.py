"""The code of Chinese pages is that of their English pages, which run: so it is not run a second time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import DOCS

CHINESE = DOCS / "zh"
# A block with its language, and what readers do not see, in the order of the page; pictures have no language.
_PARTS = re.compile(r"^```(\w+)\n(.*?)^```$|<!--(.*?)-->", re.DOTALL | re.MULTILINE)
_REMARK = re.compile(r"(?:^|(?<=\s))#(?! file:)\s.*$", re.MULTILINE)
_CJK = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]+")


def english(page: Path) -> Path:
    """The page that a Chinese one is made of."""
    return DOCS / page.relative_to(CHINESE)


def parts(text: str) -> list[tuple[str, str]]:
    """What tests would run: languages and code without remarks, and invisible marks."""
    return [
        (language, "\n".join(line.rstrip() for line in _CJK.sub("", _REMARK.sub("", code)).splitlines()) or mark)
        for language, code, mark in _PARTS.findall(text)
    ]


@pytest.mark.parametrize("page", sorted(CHINESE.glob("*/*.md")), ids=lambda page: page.relative_to(CHINESE).as_posix())
def test_a_chinese_page_has_the_code_of_its_english_page(page: Path) -> None:
    """All of it, in the same order, with the same marks; and a link to the English page stands above."""
    text = page.read_text("utf-8")
    assert parts(text) == parts(english(page).read_text("utf-8"))
    link = f"[English](../../{english(page).relative_to(DOCS).as_posix()})"
    assert link in text.splitlines()[:3], f"no line {link} at the beginning"


@pytest.mark.parametrize("folder", ["tutorial", "how-to"])
def test_an_english_page_leads_to_its_chinese_page(folder: str) -> None:
    """It has one, and begins with the link."""
    for page in sorted((DOCS / folder).glob("*.md")):
        assert page.read_text("utf-8").startswith(f"[中文](../zh/{folder}/{page.name})\n"), page


def test_remarks_may_be_translated_and_code_may_not() -> None:
    """What the comparison lets pass, and what it does not."""
    page = "<!-- output -->\n```python\n# file: one.py\ncall(1)  # seconds\n```\n"
    assert parts(page) == parts(page.replace("seconds", "秒"))
    for other in ("one.py", "call(1)", "output", "python"):
        assert parts(page) != parts(page.replace(other, "two")), other
