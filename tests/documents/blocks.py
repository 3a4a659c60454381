"""The blocks of code in README and the old pages of docs, and what they need around them."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rxpipe
from rxpipe import Pipeline, Stage
from rxpipe import operators as ops
from rxpipe.pipeline.run.run import Run

from .pages import DOCS, OLD, ROOT

FILES = (
    ROOT / "README.md",
    ROOT / "README.zh.md",
    *(DOCS / name for name in sorted(OLD)),
)  # other pages run as printed: pages.py
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


def generate(question_id: Any) -> dict[str, Any]:
    return {"id": question_id, "question": f"What is {question_id}?"}


def answer(value: Any) -> Any:
    return {**value, "answer": "that"}


def grade(value: Any) -> Any:
    return {**value, "score": 1.0}


def parse(value: Any) -> Any:
    return value


def surroundings(block: Block) -> dict[str, Any]:
    """What a reader has defined already, of what the block uses: stages, a pipeline, an app, brokers, imports."""
    used = {node.id for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Name)}
    scope = {name: getattr(rxpipe, name) for name in used if name in rxpipe.__all__}
    for name in sorted(used & _MADE.keys()):
        scope[name] = _MADE[name]()
    for name in sorted(used & _IMPORTED.keys()):
        scope[name] = getattr(import_module(_IMPORTED[name]), name)
    return scope


def _stages() -> tuple[Stage, ...]:
    return Stage("generation", generate), Stage("answering", answer), Stage("grading", grade)


_IMPORTED = {
    "FastAPI": "fastapi",
    "JSONResponse": "fastapi.responses",
    "OpenTelemetry": "rxpipe.otel",
    "asynccontextmanager": "contextlib",
}
_MADE: dict[str, Callable[[], Any]] = {
    "app": lambda: import_module("fastapi").FastAPI(),
    "dataclasses": lambda: import_module("dataclasses"),
    "ops": lambda: ops,
    "pipeline": lambda: Pipeline(*_stages()),
    "running": lambda: Pipeline(*_stages()).open(),
    "stages": _stages,
    "answer": lambda: answer,
    "generate": lambda: generate,
    "grade": lambda: grade,
    "parse": lambda: parse,
    "report": lambda: parse,
}


def execute(block: Block) -> None:
    """Run a block as a file of its own in the current folder; it may await, as in a notebook."""
    path = os.path.abspath(f"{block.name}.py")
    scope = surroundings(block) | {"__name__": "__main__", "__file__": path}
    code = compile(block.text, path, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    coroutine = eval(code, scope)
    if inspect.iscoroutine(coroutine):
        asyncio.run(coroutine)


@contextmanager
def stopped_runs() -> Generator[None]:
    """Ends what a block has begun and left to itself."""
    runs: list[Run] = []
    start = Pipeline.start

    def noted(self: Pipeline, *arguments: Any, **options: Any) -> Run:
        runs.append(start(self, *arguments, **options))
        return runs[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "start", noted)
        yield
        for run in runs:
            run.abort()
            run.finished.result(30)
