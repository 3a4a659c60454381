"""The command line, called in this process or started as a program of its own."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from programs import Program
from typer.testing import CliRunner

from rxpipe.cli.parser.configs import app

SEED = Path(__file__).parents[1] / "data" / "seed.yaml"
STARTED = "a call has started"


class Ended(NamedTuple):
    """What the program left."""

    code: int
    out: str
    err: str


def rxpipe(*arguments: str | Path) -> Ended:
    """Call the command line in this process."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


def refused(*arguments: str | Path) -> str:
    """Call the command line, which ends with 2 and one message; the message."""
    ended = rxpipe(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("error: ") == 1
    assert "Traceback" not in ended.err
    return ended.err.removeprefix("error: ").rstrip("\n")


def run_program(*arguments: str | Path, cwd: Path, **environment: str) -> Ended:
    """Start the program and wait for its end; a warning in it is an error."""
    with _start(*arguments, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return Ended(process.returncode, out, err)


class Running:
    """A program that runs, whose standard error is read as it comes."""

    def __init__(self, process: subprocess.Popen[str], errors: int) -> None:
        self._raw = ""
        self._process = process
        self._errors = errors

    @property
    def seen(self) -> str:
        """What has come, without colors."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self._raw)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Read on until the text has come, so many times."""
        deadline = time.monotonic() + 30
        while self.seen.count(text) < times:
            ready, _, _ = select.select([self._errors], [], [], 30)
            assert ready, f"{text!r} did not come, but {self.seen!r}"
            assert time.monotonic() < deadline, f"{text!r} did not come, but {self.seen[-2000:]!r}"
            assert self._read(), f"the program ended before {text!r}, but with {self.seen!r}"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self) -> Ended:
        """Wait for its end, reading on meanwhile."""
        while self._read():
            pass
        assert self._process.stdout is not None
        out = self._process.stdout.read()
        return Ended(self._process.wait(30), out, self.seen)

    def _read(self) -> bool:
        try:
            data = os.read(self._errors, 4096)
        except OSError:  # how a terminal ends
            return False
        self._raw += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)


@contextmanager
def started(*arguments: str | Path, cwd: Path, terminal: bool = False, **variables: str) -> Generator[Running]:
    """A program that is killed, should it still run in the end.

    Args:
        arguments: Of the command line.
        cwd: Where it runs.
        terminal: Whether its standard error is a terminal, of 80 columns and 24 lines.
        variables: Of its environment.
    """
    reader, writer = os.openpty() if terminal else os.pipe()
    environment = {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1", **variables}
    process = _start(*arguments, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=writer)
    os.close(writer)
    try:
        yield Running(process, reader)
    finally:
        process.kill()
        process.wait()
        os.close(reader)
        if process.stdout is not None:
            process.stdout.close()


def _start(*arguments: str | Path, env: dict[str, str], **options: Any) -> subprocess.Popen[str]:
    command = ["-m", "rxpipe.cli", *map(str, arguments)]
    options["env"] = {**os.environ, **env}
    if any(name.startswith("PYTHON") for name in env):  # what an interpreter reads as it starts
        return subprocess.Popen([sys.executable, "-W", "error", *command], text=True, **options)
    return Program(*command, **options)


def write_config(folder: Path, code: str, **keys: Any) -> Path:
    """A config of one stage for each function of a module, which is written beside it.

    Args:
        folder: Where.
        code: The module's text.
        keys: Other keys of the config; ``names`` are the functions that are stages. ``MODULE`` stands for the module,
            which has another name in each folder, as what is imported stays imported.
    """
    module = f"stages_{abs(hash(str(folder)))}"
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    names = keys.pop("names", ["work"])
    config = {
        "source": {"range": 3},
        "stages": [{"name": name, "call": f"{module}:{name}"} for name in names],
        "database": {"url": f"sqlite:///{folder / 'bank.db'}"},
        **keys,
    }
    path = folder / "pipeline.yaml"
    path.write_text(json.dumps(config).replace("MODULE", module), encoding="utf-8")  # JSON is YAML
    return path


def rows(database: Path, query: str = "select id, status, score from results") -> list[Any]:
    """What is in a database."""
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
