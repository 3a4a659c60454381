"""The messages that ``docs/troubleshooting.md`` quotes are those of the program."""

from __future__ import annotations

import ast
import os
import re
from functools import cache
from pathlib import Path

import pytest

from .pages import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
LEAST = 3  # characters: shorter parts, such as ": ", are everywhere


def messages() -> list[str]:
    """The quoted messages, with an ellipsis for what differs."""
    return re.findall(r"^### `(.+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


@cache
def constants() -> str:
    """All texts in the source, f-strings with a NUL for each value."""
    found: list[str] = []
    folders = [Path(folder) for folder, _, _ in os.walk(ROOT / "rxpipe", followlinks=True)]  # operators/ is a link
    for path in (path for folder in folders for path in folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\1".join(found)


def fixed_parts(message: str) -> list[str]:
    """What a message always has."""
    return [part for part in re.split("…", message) if len(part.strip()) >= LEAST]


def test_the_page_has_messages() -> None:
    """About thirty; each once."""
    assert len(messages()) >= 30
    assert len(set(messages())) == len(messages())


@pytest.mark.parametrize("message", messages())
def test_message(message: str) -> None:
    """Every fixed part of it is in the source; there is at least one."""
    parts = fixed_parts(message)
    assert parts, f"nothing of {message!r} is fixed"
    missing = [part for part in parts if part not in constants()]
    assert not missing, f"the program does not say: {missing}"


def test_each_message_says_what_it_means_and_what_to_do() -> None:
    """No entry is half done."""
    page = PAGE.read_text(encoding="utf-8")
    entries = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    assert all("**Means:**" in entry and "**Do:**" in entry for entry in entries)


def test_a_message_that_is_not_there_is_found() -> None:
    """The test would fail for one."""
    assert "the moon stayed away for too long" not in constants()
