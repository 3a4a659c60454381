"""Which module may import which: one way, and in no circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each room may import those before it, never one after it.
ROOMS = (
    *(
        "operators",
        "errors",
        "extras",
        "secret_values",
        "identity",
        "insight",
        "screen",
        "pipeline",
        "log_values",
        "logs",
        "database",
        "files",
        "store",
        "foresight",
    ),
    *("executors", "otel", "faststream", "llm", "questions", "config", "devtools", "web", "service", "cli", ""),
)


@cache
def modules() -> dict[str, Path]:
    """All modules by name."""
    found: dict[str, Path] = {}
    for folder, package in ((ROOT / "operators", "rxpipe.operators"), (ROOT / "rxpipe", "rxpipe")):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            if package == "rxpipe" and parts[0] == "operators":  # the link
                continue
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


def imports_of(name: str, path: Path) -> Iterator[str]:
    """What a module imports of this project, anywhere in it: also for annotations, and inside functions."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            start = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                imported = f"{module}.{alias.name}"
                imported = imported if imported in modules() else module
                if imported in modules():
                    yield imported


@pytest.mark.slow
def test_there_is_no_circle() -> None:
    """Not even one through annotations or through imports inside functions."""
    graph = {name: set(imports_of(name, path)) - {name} for name, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle of imports: {' <- '.join(error.args[1])}") from None
    assert len(graph) > 200
    assert sum(map(len, graph.values())) > 1000


@pytest.mark.slow
def test_rooms_import_one_way() -> None:
    """In the order of ``ROOMS``."""
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        for imported in imports_of(name, path)
        if ROOMS.index(room_of(imported)) > ROOMS.index(room_of(name))
    ]
    assert wrong == []


def room_of(name: str) -> str:
    """Its room; the text after the last one is of ``rxpipe`` itself, which has all names."""
    return name.removeprefix("rxpipe").lstrip(".").partition(".")[0]


def test_operators_know_nothing_else() -> None:
    """They work alone in any chain."""
    operators = [(name, path) for name, path in modules().items() if room_of(name) == "operators"]
    assert {room_of(imported) for name, path in operators for imported in imports_of(name, path)} == {"operators"}


def test_core_and_runners_know_no_operator() -> None:
    """``core`` stands below ``runners``, both below ``stages``, all below what users name."""
    floors = ["errors", "core", "runners", "stages"]
    for name, path in modules().items():
        parts = name.removeprefix("rxpipe.operators.").split(".")
        if parts[0] in floors and room_of(name) == "operators":
            below = floors[: floors.index(parts[0]) + 1]
            imported = {one.removeprefix("rxpipe.operators.").split(".")[0] for one in imports_of(name, path)}
            assert imported <= set(below), f"{name} imports {sorted(imported)}"


PACKAGES = sorted({path.parent for path in modules().values() if path.name == "__init__.py"})


@pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_package_says_what_its_files_are(folder: Path) -> None:
    """Its docstring names each of them, and none that is not there."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    named = set(re.findall(r"``(\w+\.py)``", text))
    assert {path.name for path in folder.glob("[!_]*.py")} - named == set()
    assert [name for name in sorted(named) if not any(folder.rglob(name))] == []
