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
CHINESE = ROOT / "docs" / "zh" / "troubleshooting.md"
LEAST = 3  # characters: shorter parts, such as ": ", are everywhere


def messages(page: Path = PAGE) -> list[str]:
    """The quoted messages, with an ellipsis for what differs."""
    return re.findall(r"^### `(.+)`$", page.read_text(encoding="utf-8"), re.MULTILINE)


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


@pytest.mark.parametrize(
    ("page", "means", "do"), [(PAGE, "**Means:**", "**Do:**"), (CHINESE, "**含义**：", "**处理**：")], ids=["en", "zh"]
)
def test_each_message_says_what_it_means_and_what_to_do(page: Path, means: str, do: str) -> None:
    """No entry is half done."""
    entries = re.split(r"^### ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert all(means in entry and do in entry for entry in entries)


def test_the_chinese_page_has_the_same_messages() -> None:
    """In the same order; and each page leads to the other."""
    assert messages(CHINESE) == messages()
    assert PAGE.read_text("utf-8").startswith("[中文](zh/troubleshooting.md)\n")
    assert CHINESE.read_text("utf-8").startswith("[English](../troubleshooting.md)\n")


def test_a_message_that_is_not_there_is_found() -> None:
    """The test would fail for one."""
    assert "the moon stayed away for too long" not in constants()
