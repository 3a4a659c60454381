"""Code in README and docs works as it is printed."""

from __future__ import annotations

import re
import shlex
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rxpipe.cli.parser.configs import app

from .blocks import STAGES, Block, blocks, execute
from .pages import DOCS, ROOT

README = ROOT / "README.md"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all blocks, as readers try one after the other."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "my_stages.py").write_text(STAGES, encoding="utf-8")
    (folder / "pipeline.yaml").write_text("name: shared", encoding="utf-8")
    (folder / "topics.csv").write_text("number,topic\n1,sums\n", encoding="utf-8")
    (folder / "models").mkdir()
    (folder / "models" / "my-model.gguf").touch()
    return folder


@pytest.fixture
def folder(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, as the current one."""
    monkeypatch.chdir(shared)
    monkeypatch.delitem(sys.modules, "my_stages", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    return shared


def rxpipe(*arguments: str | Path) -> str:
    """What a command says, which ends well."""
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, ended.output
    sys.modules.pop("my_stages", None)
    return ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.name)
def test_python(block: Block, folder: Path) -> None:
    """Each block runs by itself."""
    execute(block)


PAGES = [path for folder in ("", "how-to", "explanation") for path in (DOCS / folder).glob("*.md")]
PARTS = [
    block
    for block in blocks("yaml", *sorted(PAGES))
    if not block.text.startswith("# file: ")  # those are run with the page
]


@pytest.mark.parametrize("block", [*blocks("yaml"), *PARTS], ids=lambda block: block.name)
def test_yaml(block: Block, folder: Path) -> None:
    """Each config is valid."""
    path = folder / f"{block.name}.yaml"
    path.write_text(block.text, encoding="utf-8")
    assert "is valid" in rxpipe("check", path)


def test_the_configs_of_the_readme_need_no_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is a local one."""
    monkeypatch.delenv("OPENAI_API_KEY")
    for block in blocks("yaml", README):
        (folder / "no_key.yaml").write_text(block.text, encoding="utf-8")
        assert "is valid" in rxpipe("check", folder / "no_key.yaml")


def test_the_plain_example_of_the_readme_prints(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each graded value, before the script ends."""
    (block,) = [block for block in blocks("python", README) if "do_action" in block.text]
    execute(block)
    assert capfd.readouterr().out.count("score=1.0") > 1


def test_each_source_in_the_table_of_sources(folder: Path) -> None:
    """Is valid: the keys of the first column, which may have several alternatives."""
    (folder / "ids.txt").write_text("1\n2\n", encoding="utf-8")
    (folder / "topics.jsonl").write_text('{"number": 1}\n', encoding="utf-8")
    (folder / "my_module.py").write_text("def ids():\n    return [1, 2]\n", encoding="utf-8")
    stages = 'stages: [{name: generation, call: "my_stages:generate"}]'
    table = (DOCS / "config_file.md").read_text("utf-8").split("\n## Sources\n")[1].split("\nThe first stage")[0]
    cells = re.findall(r"^\| (`.*`) \|", table, re.MULTILINE)
    assert len(cells) == 10
    for cell in cells:
        keys = re.findall(r"`([^`]+)`", cell)
        sources = keys if cell.startswith("`range") else [", ".join(keys)]
        for source in (one for one in sources if not one.startswith("parquet")):  # whose file is not text
            path = folder / "source.yaml"
            path.write_text(f"source: {{{source}}}\n{stages}", encoding="utf-8")
            assert "is valid" in rxpipe("check", path), source


def quick_start(folder: Path) -> None:
    rxpipe("run", ROOT / "examples" / "questions.yaml", "--fast", "--count", "5")


def ten_lines(folder: Path) -> None:
    """A script with the first block of the README."""
    execute(blocks("python", README)[0])


def init(folder: Path) -> None:
    """And the command that it prints."""
    if not (folder / "my_bank").exists():
        rxpipe("init", "my_bank")
    rxpipe(*shlex.split("run my_bank/pipeline.yaml --count 5"))


def configuration(folder: Path) -> None:
    """The first config of the README."""
    path = folder / "config.yaml"
    path.write_text(blocks("yaml", README)[0].text, encoding="utf-8")
    rxpipe("run", path, "--count", "5")


@pytest.mark.slow
@pytest.mark.parametrize("order", list(permutations([quick_start, ten_lines, init, configuration]))[::5])
def test_the_readme_in_one_folder(order: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it shows works in any order, and again; nothing gets in the way of anything else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_stages.py").write_text(STAGES, encoding="utf-8")
    for step in (*order, *order):
        step(tmp_path)


HOW_TO = ROOT / "docs" / "how-to"
SHAPES = {
    "records": "rows-in-and-out",
    "drop": "filter-and-branch",
    "when": "filter-and-branch",
    "expand": "fan-out",
    "collect": "fan-out",
    "batch": "batch-calls",
    "send back": "send-back",
    "until": "exactly-n-rows",
    "key": "order-per-key",
    "cache": "caching",
}


@pytest.mark.parametrize("page", sorted({*SHAPES.values()} - {"rows-in-and-out"}))
def test_each_shape_has_a_picture_then_code_then_edge_cases(page: str) -> None:
    """In this order."""
    text = (HOW_TO / f"{page}.md").read_text("utf-8")
    places = [text.index(mark) for mark in ("```\n", "```python\n", "\n## Good to know\n", "\n- **")]
    assert places == sorted(places)


def test_each_shape_that_the_picture_lists_has_a_page() -> None:
    """And no page has a shape that is not listed."""
    index = (HOW_TO / "index.md").read_text("utf-8")
    listed = index.split("```\nplain ")[1].split("```")[0].splitlines()
    assert [line[:12].strip() for line in listed if line[:1].isalpha()] == list(SHAPES)


def test_every_how_to_page_is_listed_once_with_a_line() -> None:
    """In the index of the how-to guides."""
    index = (HOW_TO / "index.md").read_text("utf-8")
    listed = re.findall(r"^- \[[^]]+\]\(([\w-]+\.md)\): \S", index, re.MULTILINE)
    assert sorted(listed) == sorted(path.name for path in HOW_TO.glob("*.md") if path.name != "index.md")
