"""What documents name is there: signatures, commands and their options, tables and states of the store."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import typer

import rxpipe
from rxpipe import DatabaseSink, JsonLinesSink, RunStore, Stage
from rxpipe import operators as ops
from rxpipe.cli.parser.configs import app
from rxpipe.config import (
    BatchConfig,
    Config,
    DatabaseConfig,
    OutputConfig,
    PipelineConfig,
    RangeConfig,
    RetryConfig,
    SourceConfig,
    StageConfig,
)
from rxpipe.database.table_owner import OWNERS
from rxpipe.files.file_owner import FILES
from rxpipe.foresight.live.foretelling import SECONDS, SHARE
from rxpipe.foresight.stand_in import QUEUE
from rxpipe.store.schema.tables import METADATA

OTHERS = {"--timeout-graceful-shutdown", "--nthreads"}  # of uvicorn and of Dask
ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
MADE = ROOT / "docs" / "reference" / "commands.md"  # of the commands
PAGES = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path not in (*DECISIONS, MADE)]
DOCUMENTS = [*sorted(ROOT.glob("README*.md")), *PAGES, ROOT / "CONTRIBUTING.md"]
IDS = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]
DURABILITY, OPTIONS, ROWS, RETRIES = (
    (ROOT / "docs" / name).read_text("utf-8")
    for name in (
        "durability.md",
        "how-to/index.md",
        "how-to/rows-in-and-out.md",
        "how-to/timeouts-and-retries.md",
    )
)


def flat(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "thing"),
    [(OPTIONS, Stage), (ROWS, DatabaseSink), (ROWS, JsonLinesSink)],
    ids=["Stage", "sink", "file"],
)
def test_a_signature_is_that_of_the_code(text: str, thing: type) -> None:
    """Every parameter that is printed has the default that is printed, and none is left out but at the end."""
    found = re.search(rf"`{thing.__name__}\(([^`]*)\)`", flat(text))
    assert found is not None
    printed = [one.strip() for one in found[1].split(",") if one.strip() != "*"]
    parameters = inspect.signature(thing).parameters
    for one in printed:
        name, _, default = one.partition("=")
        assert name in parameters
        if default not in ("", "..."):
            assert parameters[name].default == ast.literal_eval(default)
    assert [one.partition("=")[0] for one in printed] == list(parameters)[: len(printed)]


def commands() -> dict[str, set[str]]:
    """The options of each command."""
    group: Any = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in group.commands.items()
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_commands_and_their_options_are_there(path: Path) -> None:
    """In each piece of code that begins with ``rxpipe``; others name options of other programs."""
    known = commands()
    text = path.read_text("utf-8")
    fenced = "\n".join(re.findall(r"^```\w*$(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    for line in [*re.findall(r"`rxpipe ([^`]+)`", flat(text)), *re.findall(r"^rxpipe (.+)$", fenced, re.MULTILINE)]:
        command, *rest = line.partition("#")[0].split()
        if [command, *rest] == ["--version"]:
            continue
        assert command in known, line
        for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", " ".join(rest)):
            assert option in known[command] | {"--help", "-h"}, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_an_option_that_is_named_by_itself_is_one_of_some_command(path: Path) -> None:
    """Of rxpipe's, or of a program that is named beside it."""
    known = set[str]().union(*commands().values()) | OTHERS
    assert [one for one in re.findall(r"`(--[a-z-]+)[ `]", path.read_text("utf-8")) if one not in known] == []


@pytest.mark.parametrize("path", [ROOT / "docs" / "architecture.md", *DECISIONS], ids=lambda path: path.name)
def test_files_that_documents_name_are_there(path: Path) -> None:
    """By the end of their path, as in ``core/machine.py``; and folders, as ``core/``."""
    found = [
        one.relative_to(ROOT) for top in ("rxpipe", "operators", "tests", "docs") for one in (ROOT / top).rglob("*")
    ]
    there = {"/rxpipe/", "/operators/", "/docs/", *(f"/{one}{'/' if one.suffix != '.py' else ''}" for one in found)}
    named = set(re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", path.read_text("utf-8")))
    assert [name for name in sorted(named) if not any(one.endswith(f"/{name}") for one in there)] == []


def test_the_tables_of_the_store_are_named() -> None:
    """Those of sinks on the page itself; the others in the reference, to which it leads."""
    paragraph = DURABILITY.partition("## Tables")[2]
    assert {OWNERS.name, FILES.name} == set(re.findall(r"`(rxpipe_\w+)`", paragraph)) - {*METADATA.tables}
    reference = (ROOT / "docs" / "reference" / "store-tables.md").read_text("utf-8")
    assert "(reference/store-tables.md)" in paragraph
    assert set(re.findall(r"^## `(rxpipe_\w+)`", reference, re.MULTILINE)) == {*METADATA.tables}


def test_every_key_of_a_config_is_shown() -> None:
    """In code, on the page of examples; those of language models and executors have pages of their own."""
    text = (ROOT / "docs" / "config_file.md").read_text("utf-8")
    code = " ".join(map("".join, re.findall(r"^```yaml\n(.*?)^```|`([^`\n]+)`", text, re.MULTILINE | re.DOTALL)))
    sections = (
        Config,
        PipelineConfig,
        RetryConfig,
        SourceConfig,
        RangeConfig,
        BatchConfig,
        StageConfig,
        DatabaseConfig,
        OutputConfig,
    )
    keys = {field.alias or name for section in sections for name, field in section.model_fields.items()}
    assert keys - set(re.findall(r"\w+", code)) == set()


def test_the_names_of_operators_are_theirs() -> None:
    """And of what is imported from ``rxpipe``."""
    for path in DOCUMENTS:
        text = path.read_text("utf-8")
        assert [name for name in re.findall(r"\bops\.(\w+)\(", text) if not hasattr(ops, name)] == [], path
        assert [name for name in re.findall(r"`rxpipe\.(\w+)\(", text) if not hasattr(rxpipe, name)] == [], path


def test_defaults_that_are_told_are_those_of_the_code() -> None:
    """Seconds, mostly."""
    config = Config()
    assert f"pipeline_config: {{grace: {config.pipeline_config.grace:g}}}" in DURABILITY
    assert "(In a config file: 60 s and three attempts.)" in flat(RETRIES)
    stage = config.resolved_stages()[0]
    assert (stage.timeout, stage.retry.max_attempts, stage.concurrency) == (60, 3, 3)
    lease, heartbeat = (inspect.signature(RunStore).parameters[name].default for name in ("lease", "heartbeat"))
    assert f"a lease of {lease:g} s, which it renews every {heartbeat:g} s" in flat(DURABILITY)
    foresight, page = (flat((ROOT / "docs" / name).read_text("utf-8")) for name in ("foresight.md", "page.md"))
    assert f"It takes at most {SHARE:.0%} of one core. There is an estimate every {SECONDS:g} to" in foresight
    assert f"queues have {QUEUE} places" in page
