"""The blocks of code in README."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from .pages import ROOT

FILES = (ROOT / "README.md", ROOT / "README.zh.md")  # the pages of docs run as printed: pages.py
STAGES = """
def generate(question_id, *, topic="numbers"):
    return {"id": question_id, "question": f"What is {question_id}?"}
def answer(value):
    return {**value, "answer": "that"}
def grade(value):
    return {**value, "score": 1.0}
lookup = generate
"""


class Block(NamedTuple):
    """A block.

    Attributes:
        name: The file's, and the line's where it begins.
        kind: The language.
        text: What is in it.
    """

    name: str
    kind: str
    text: str


def blocks(kind: str, *files: Path) -> list[Block]:
    """All blocks of a language, of all files unless some are given."""
    found: list[Block] = []
    for path in files or FILES:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 2
            found.append(Block(f"{path.stem}_{line}", match[1], match[2]))
    return [block for block in found if block.kind == kind]


def execute(block: Block) -> None:
    """Run a block as a file of its own in the current folder."""
    path = os.path.abspath(f"{block.name}.py")
    exec(compile(block.text, path, "exec", dont_inherit=True), {"__name__": "__main__", "__file__": path})
