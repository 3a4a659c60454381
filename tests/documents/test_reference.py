"""Generated pages are what the code says now, and leave nothing out."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import typer

import rxpipe
from rxpipe.cli.parser.configs import app
from rxpipe.store.schema.tables import METADATA

from .pages import DOCS, ROOT
from .reference import generated
from .reference.api import TOPICS, found
from .reference.columns import COLUMNS, TABLES
from .reference.config import sections
from .reference.llms import files, nav

AGAIN = "run `python -m tests.documents.reference`"
ROOMS = (
    *("operators", "store", "database", "files", "llm", "questions", "foresight", "executors", "faststream", "otel"),
    "web",
)


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The generated files, as they ought to be."""
    return generated()


def test_generated_files_are_not_stale(texts: dict[str, str]) -> None:
    """Each is what would be written now."""
    for name, text in texts.items():
        path = ROOT / name
        assert path.exists(), f"{name} is missing: {AGAIN}"
        assert path.read_text("utf-8") == text, f"{name} is stale: {AGAIN}"


def test_every_public_name_is_on_one_page() -> None:
    """Of ``rxpipe`` and of the rooms that users import from."""
    things = [found(name) for topic in TOPICS.values() for name in topic.names]
    public = [getattr(rxpipe, name) for name in rxpipe.__all__ if name != "operators"]
    for room in ROOMS:
        module = import_module(f"rxpipe.{room}")
        public += [getattr(module, name) for name in module.__all__]
    for thing in public:
        assert sum(thing is one for one in things) == 1, thing


def test_pages_of_the_reference_leave_nothing_out(texts: dict[str, str]) -> None:
    """Commands, sections of a config, tables and columns."""
    group = typer.main.get_command(app)
    for name in getattr(group, "commands"):  # noqa: B009 - typer's types lack it
        assert f"## `rxpipe {name}`" in texts["docs/reference/commands.md"]
    for name in sections():
        assert not name or f"## `{name}`" in texts["docs/reference/config.md"]
    assert TABLES.keys() == METADATA.tables.keys()
    there = {
        f"{name.removeprefix('rxpipe_')}.{one.name}" for name, table in METADATA.tables.items() for one in table.columns
    }
    assert COLUMNS.keys() - there == set()


def test_every_page_is_in_the_nav_once() -> None:
    """And the nav names no other."""
    named = [file for _, file in files(nav())]
    assert sorted(named) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_the_descriptions_in_llms_txt_are_sentences(texts: dict[str, str]) -> None:
    """Each link of it leads to a file, and has one."""
    for line in texts["llms.txt"].splitlines():
        if line.startswith("- "):
            target, _, described = line.partition("](")[2].partition("): ")
            assert (Path(ROOT) / target).exists(), line
            assert len(described) > 10, line
