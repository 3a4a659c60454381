"""Commands whose output nobody reads to its end, as ``rxpipe failures latest --json | head -5``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from programs import Program

from .program import rxpipe, write_config

CODE = """
def work(number):
    raise ValueError(f"no {number}")
"""
OF_STORE = ("runs --json", "show latest --json", "failures latest --json", "failures latest", "export latest out.csv")
OTHERS = ("--version", "schema")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config that has been run; so many items failed that no buffer takes all of them."""
    folder = tmp_path_factory.mktemp("pipe")
    more = {"source": {"range": 700}, "pipeline_config": {"retry": {"max_attempts": 1}}}
    path = write_config(folder, CODE, **more)
    assert rxpipe("run", path, "--quiet").code == 1
    return path


@pytest.mark.slow
@pytest.mark.parametrize("command", [*OF_STORE, *OTHERS])
def test_no_command_complains(config: Path, command: str) -> None:
    """It ends with 1 and without a word: nobody wants to know."""
    words = [*command.split(), *(["-c", str(config)] if command in OF_STORE else [])]
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # else nothing is left to be written at the end
    streams: dict[str, Any] = {"stdout": writer, "stderr": subprocess.PIPE}
    try:
        with Program("-m", "rxpipe.cli", *words, cwd=config.parent, env=environment, **streams) as program:
            _, err = program.communicate(timeout=60)
    finally:
        os.close(writer)
    assert (program.returncode, err) == (1, "")
