"""What the pages are made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

BY = "<!-- Written by `python -m tests.documents.reference`; change the code that it is made of instead. -->"


def head(title: str, text: str) -> str:
    """The beginning of a page."""
    return f"# {title}\n\n{BY}\n\n{text}\n"


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; bars in cells do not end them."""
    lines = [list(titles), *(list(row) for row in rows)]
    texts = [" | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in line) for line in lines]
    rule = "|".join("---" for _ in lines[0])
    return "\n".join([f"| {texts[0]} |", f"|{rule}|", *(f"| {text} |" for text in texts[1:])]) + "\n"


def paragraph(text: str | None) -> str:
    """The first paragraph of a docstring, on one line, with code as Markdown has it."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split()).replace("``", "`")
