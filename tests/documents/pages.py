r"""Runs a page's code as it is printed, in the order of the page, in a folder that is empty at first.

The conventions, for writers:

- ``python`` blocks run one after the other and share the page's names. Each is what a script may contain: ``await``
  stands in coroutine functions only.
- A block with a first line ``# file: NAME`` is written to that file and not run: configs, modules, any language.
  Where the language has no such remark (CSV, JSON, Markdown), ``<!-- file: NAME -->`` is the line before the block,
  and the prose tells the name.
- ``sh`` blocks run line by line, with or without a leading ``$ ``: ``rxpipe ...`` (in this process), ``python FILE``,
  ``cat FILE``, ``ls``, ``cd FOLDER``, ``mkdir FOLDER``, ``export NAME=VALUE``. ``\`` at the end continues a line,
  ``# ...`` behind a space is a remark, and a line that ends in `` &`` runs in the background until the page ends.
  ``pip install ...`` is passed over, as other tests install rxpipe.
- ``<!-- output -->`` before a ``text`` block: the block before it printed this. ``...`` stands for any text, over
  several lines, too; blanks and line breaks count as one blank. Without the mark a ``text`` block is not compared.
- ``<!-- exit code: 1 -->`` before a ``sh`` block: its last line ends so. Without the mark all lines end with 0.
- ``<!-- not run: REASON -->`` before a block: it needs what a test lacks. Such blocks should be few.
- ``<!-- invisible-code: python``, lines of code, ``-->``: set-up that readers do not see.
- ``<!-- in a checkout -->``, anywhere in a page: its folder has a copy of ``examples/``.
- Blocks of other languages do nothing. A ``yaml`` block is a file, or is marked ``<!-- not run: REASON -->``.

All pages under docs/ run this way, but for those in docs/zh, whose code is that of the English pages: see
test_chinese.py.
"""

from __future__ import annotations

import contextlib
import doctest
import gc
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example, Region
from sybil.parsers.markdown import CodeBlockParser
from typer.testing import CliRunner

from rxpipe.cli.parser.configs import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_MARK = re.compile(r"<!--\s*(file|output|exit code|not run)(?::\s*((?:(?!-->).)*?))?\s*-->\s*\Z", re.DOTALL)
_FILE = re.compile(r"# file: (\S+)\s*$", re.MULTILINE)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_WIDTH = "120"  # columns of the terminal that commands write to


def pages() -> list[Path]:
    """The pages that run as printed: those with code in them that are not in Chinese."""
    others = {"decisions", "zh"}
    return [
        path
        for path in sorted(DOCS.rglob("*.md"))
        if others.isdisjoint(path.relative_to(DOCS).parts) and "\n```" in path.read_text("utf-8")
    ]


class Page:
    """A page that is being run in the current folder.

    Attributes:
        printed: What the block that ran last wrote.
    """

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.printed = ""
        self._patch = patch
        self._running: list[subprocess.Popen[str]] = []
        patch.setenv("COLUMNS", _WIDTH)
        patch.setattr(sys, "path", [os.getcwd(), *sys.path])
        self._document = Document.parse(str(path), _Blocks(self.block))
        self._document.namespace["__name__"] = "__main__"
        if "<!-- in a checkout -->" in self._document.text:
            shutil.copytree(ROOT / "examples", "examples", ignore=shutil.ignore_patterns("__pycache__", "*.db*"))

    def run(self) -> None:
        """Run all blocks; fails where a block fails or prints something else."""
        try:
            for example in self._document.examples():
                example.evaluate()
        finally:
            self.stop()

    def stop(self) -> None:
        """End what runs in the background."""
        for program in self._running:
            program.terminate()
        for program in self._running:
            program.wait(30)
        self._forget_modules()
        self._document.namespace.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # short examples leave connections open
            gc.collect()

    def block(self, example: Example) -> None:
        """Run a block, write its file, or compare it."""
        language, text = example.region.lexemes["arguments"].strip(), str(example.parsed)
        marked = _MARK.search(example.document.text[: example.region.start].rstrip())
        mark, value = (marked[1], marked[2]) if marked else ("", "")
        where = f"{Path(example.path).name}, line {example.line}"
        if mark == "not run":
            assert value, f"{where}: a block that is not run needs a reason"
        elif mark == "file" or (named := _FILE.match(text)):
            file = Path(value if mark == "file" else named[1])  # type: ignore[index]  # matched where the mark is another
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif mark == "output":
            right = doctest.OutputChecker().check_output(text, self.printed, _FLAGS)
            assert right, f"{where}: printed is\n{self.printed}\nand not\n{text}"
        elif language == "python":
            self._python(example, text)
        elif language == "sh":
            self._shell(text, int(value) if mark == "exit code" else 0, where)
        else:
            assert language != "yaml", (
                f"{where}: a config needs a first line `# file: NAME.yaml`, or a reason not to be run"
            )

    def _python(self, example: Example, text: str) -> None:
        code = compile("\n" * example.line + text, example.path, "exec", dont_inherit=True)
        written = io.StringIO()
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
            exec(code, example.namespace)
        self.printed = written.getvalue()

    def _shell(self, text: str, code: int, where: str) -> None:
        """Run lines; the last may end with another code."""
        self.printed = ""
        lines = [line.removeprefix("$ ").strip() for line in text.replace("\\\n", " ").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        for number, line in enumerate(lines, 1):
            ended = self._line(line)
            expected = code if number == len(lines) else 0
            assert ended == expected, f"{where}: `{line}` ended with {ended}, not {expected}\n{self.printed}"

    def _line(self, line: str) -> int:
        command, *rest = shlex.split(line, comments=True)
        match command, rest:
            case _, [*arguments, "&"]:
                program = [sys.executable, *(["-m", "rxpipe.cli"] if command == "rxpipe" else []), *arguments]
                self._running.append(subprocess.Popen(program, text=True, stdout=subprocess.DEVNULL))
            case "rxpipe", arguments:
                self._forget_modules()  # each command is a process of its own, to readers
                ended = CliRunner().invoke(app, arguments)
                self.printed += ended.output
                return ended.exit_code
            case ("python", [_, *_]):
                done = subprocess.run([sys.executable, *rest], capture_output=True, text=True, timeout=120, check=False)
                self.printed += done.stdout + done.stderr
                return done.returncode
            case "cat", [file]:
                self.printed += Path(file).read_text("utf-8")
            case "ls", []:
                self.printed += "\n".join(sorted(path.name for path in Path().iterdir() if path.name[0] != ".")) + "\n"
            case "cd", [folder]:
                self._patch.chdir(folder)
            case "mkdir", [folder]:
                Path(folder).mkdir()
            case "export", [setting]:
                self._patch.setenv(*setting.split("=", 1))
            case (("pip" | "uv"), ["install" | "pip", *_]):
                pass
            case _:
                raise ValueError(f"`{line}` is not run by tests; mark the block by <!-- not run: REASON -->")
        return 0

    def _forget_modules(self) -> None:
        """Those that the page wrote, so that the next import reads the files again."""
        here = os.getcwd() + os.sep
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(here):
                del sys.modules[name]


class _Blocks(CodeBlockParser):
    """All blocks of a page, of any language."""

    language = "any"

    def __init__(self, evaluate: Any) -> None:
        super().__init__("any", evaluate)
        self._run = evaluate

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in self.lexers(document):
            region.parsed = region.lexemes["source"]
            region.evaluator = self._run
            yield region
