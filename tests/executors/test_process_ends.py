"""What becomes of worker processes when programs are interrupted and killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no types
import pytest
from pipeline_helpers import until
from programs import Program

from .executor_helpers import rows
from .executor_stages import LIMIT, ledger

pytestmark = pytest.mark.slow  # they start programs that start processes

STAGES = """
import os, pathlib, time
here = pathlib.Path(__file__).parent
def note(text):
    file = os.open(here / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{text} {os.getpid()}\\n".encode())
    os.close(file)
def make(value):
    note(f"make {value}")
    return value
def grade(value):
    note(f"grade {value}")
    while value == 5 and not (here / "go").exists():
        time.sleep(0.005)
    return {"grade": value}
"""
CONFIG = """
source: {range: [0, 20]}
stages:
  - {name: making, call: "my_process_stages:make", executor: {processes: 2}}
  - {name: grading, call: "my_process_stages:grade", executor: {processes: 2}}
"""
SCRIPT = """
from rxpipe import Pipeline, Stage
from rxpipe.executors import Processes
def square(value):
    return value * value
report = Pipeline(Stage("a", square, executor=Processes(2))).run(range(5))
"""


@contextmanager
def started(folder: Path) -> Generator[subprocess.Popen[str]]:
    """``rxpipe run`` in a process group of its own."""
    command = ["-m", "rxpipe.cli", "run", "pipeline.yaml", "--quiet"]
    with Program(*command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def written(folder: Path) -> Path:
    """A folder with a config and its stages."""
    (folder / "my_process_stages.py").write_text(STAGES)
    (folder / "pipeline.yaml").write_text(CONFIG)
    return folder


def grading(folder: Path) -> int | None:
    """The process in which the call is that waits."""
    return next((int(line[2]) for line in ledger(folder) if line[:2] == ["grade", "5"]), None)


def has_ended(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_killed_run_goes_on(written: Path) -> None:
    """Its processes end with it, in the midst of a call; the same command then makes the calls that are left."""
    with started(written) as process:
        until(lambda: grading(written) is not None and len(rows(written / "pipeline.db")) == 19)
        processes = {int(line[2]) for line in ledger(written)}
        process.kill()
    until(lambda: all(has_ended(one) for one in processes))
    (written / "go").touch()
    with started(written) as process:
        assert process.communicate(timeout=LIMIT)[1] == ""
        assert process.returncode == 0
    assert rows(written / "pipeline.db") == list(range(20))
    lines = ledger(written)
    assert sum(line[:2] == ["make", "5"] for line in lines) == 1  # its checkpoint was kept
    assert sum(line[:2] == ["grade", "5"] for line in lines) == 2


def test_ctrl_c_drains(written: Path) -> None:
    """It goes to the worker processes as well, which take no notice: what is on its way finishes."""
    with started(written) as process:
        until(lambda: grading(written) is not None)
        os.killpg(process.pid, signal.SIGINT)
        processes = {int(line[2]) for line in ledger(written)}
        assert not any(has_ended(one) for one in processes)
        (written / "go").touch()
        process.communicate(timeout=LIMIT)
        assert process.returncode == 130
    assert 5 in rows(written / "pipeline.db")
    assert sum(line[:2] == ["grade", "5"] for line in ledger(written)) == 1
    until(lambda: all(has_ended(one) for one in processes))


def test_calls_that_outlast_the_grace_are_ended(written: Path) -> None:
    """After Ctrl-C a call that does not return in time is ended with its process, and the program ends."""
    with (written / "pipeline.yaml").open("a") as config:
        config.write("pipeline_config: {grace: 0}\n")
    with started(written) as process:
        until(lambda: grading(written) is not None)
        called = grading(written)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=LIMIT)
        assert process.returncode == 130
    assert called is not None
    until(lambda: has_ended(called))
    assert 5 not in rows(written / "pipeline.db")


def test_a_script_without_a_guard(folder: Path) -> None:
    """Is told what it lacks: a worker process would run it again."""
    (folder / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, folder / "script.py"], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    before = "a process that was started ended with exit code 1 before its first call|no process can be started: .*"
    hint = 'if the program is a script, its main part must stand behind: if __name__ == "__main__":'
    assert re.fullmatch(rf"rxpipe\.errors\.ConfigError: stage a: ({before}); {hint}", last)
