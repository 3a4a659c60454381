"""Ctrl-C in a process of its own."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS
from programs import Program

SCRIPT = """
import os, signal, sys, threading
from rxpipe import DatabaseSink, Pipeline, Stage
from rxpipe.pipeline.blocking import run_blocking

scheduler, database, hangs = sys.argv[1:]
may_return = threading.Event()
set_handler = signal.signal

def telling(number, handler):
    def handle(*about):
        os.write(1, b"taken\\n")
        handler(*about)

    return set_handler(number, handle if callable(handler) else handler)

signal.signal = telling

def tell(text):
    sys.stdout.write(text + "\\n")  # at once: two threads do it
    sys.stdout.flush()

def call(value):
    tell(f"called {value}")
    assert may_return.wait(60)
    return value

class Hangs:
    def open(self):
        from reactivex import operators
        return operators.do_action(lambda outcome: self.hang())

    def hang(self):
        while True:
            tell("sink hangs")
            threading.Event().wait(0.01)

def listen():
    for line in sys.stdin:
        may_return.set()

threading.Thread(target=listen, daemon=True).start()
sink = Hangs() if hangs == "hangs" else DatabaseSink(f"sqlite:///{database}")
pipeline = Pipeline(Stage("s", call, concurrency=2, queue_size=0), sink=sink, scheduler=scheduler)
runs = []
try:
    run_blocking(pipeline, range(100), started=runs.append, interrupted=lambda _, count: tell(f"signal {count}"))
except KeyboardInterrupt:
    run = runs[0]
    tell(f"interrupted {run.taken} {run.written} {run.failed} {run.cancelled}")
"""


class Process:
    """The script, and what it says."""

    def __init__(self, scheduler: str, database: Path, hangs: str = "") -> None:
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = Program("-c", SCRIPT, scheduler, database, hangs, **streams)

    def wait_for(self, line: str) -> None:
        out: IO[str] | None = self._process.stdout
        assert out is not None
        too_long = threading.Timer(LIMIT, self._process.kill)  # which ends what it says
        too_long.start()
        try:
            for said in out:
                if said.strip().startswith(line):
                    return
        finally:
            too_long.cancel()
        raise AssertionError(f"it never said {line}")

    def press_ctrl_c(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def press_ctrl_c_twice(self) -> None:
        for count in (1, 2):
            self.press_ctrl_c()
            self.wait_for(f"signal {count}")

    def let_calls_return(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        code = self._process.wait(LIMIT)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        assert code == 0


def rows_in(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [status for (status,) in connection.execute("SELECT status FROM results")]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_in_a_process_the_first_ctrl_c_drains(tmp_path: Path, scheduler: str) -> None:
    """What was taken is written."""
    with Process(scheduler, tmp_path / "x.db") as process:
        process.wait_for("called 1")
        process.press_ctrl_c()
        process.wait_for("signal 1")
        process.let_calls_return()
        process.wait_for("interrupted 2 2 0 0")
    assert rows_in(tmp_path / "x.db") == ["written", "written"]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_in_a_process_the_second_ctrl_c_cancels(tmp_path: Path, scheduler: str) -> None:
    """It ends though calls hang on threads."""
    with Process(scheduler, tmp_path / "x.db") as process:
        process.wait_for("called 1")
        process.press_ctrl_c_twice()
        process.wait_for("interrupted 2 0 0 2")
    assert rows_in(tmp_path / "x.db") == []


@pytest.mark.slow
def test_in_a_process_the_third_ctrl_c_gives_up_on_threads(tmp_path: Path) -> None:
    """Though the sink hangs, on its own thread."""
    with Process("threads", tmp_path / "x.db", "hangs") as process:
        process.wait_for("called 1")
        process.let_calls_return()
        process.wait_for("sink hangs")
        process.press_ctrl_c_twice()
        process.press_ctrl_c()
        process.wait_for("interrupted")


@pytest.mark.slow
def test_in_a_process_the_third_ctrl_c_gives_up_on_asyncio(tmp_path: Path) -> None:
    """Though the sink hangs, on the event loop itself, which then cannot say that a signal came."""
    with Process("asyncio", tmp_path / "x.db", "hangs") as process:
        process.wait_for("called 1")
        process.let_calls_return()
        process.wait_for("sink hangs")
        for _ in range(3):  # each when the one before was taken: two that come at once count as one
            process.press_ctrl_c()
            process.wait_for("taken")
        process.wait_for("interrupted")
