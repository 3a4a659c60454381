"""Runs a pipeline whose rows go into a file, and kills itself at the n-th time that it comes by a place."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from rxpipe import JsonLinesSink, Pipeline, RunStore, Stage
from rxpipe.files.output_file import OutputFile


class Places:
    """Counts how often the process comes by its place."""

    def __init__(self, wanted: str, number: int) -> None:
        self._wanted = wanted
        self._left = number

    def __call__(self, place: str) -> None:
        """The process is there."""
        if place == self._wanted:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # it is on its way

    def watch(self) -> None:
        """Come by before, in and behind each write of the file, and before and behind each commit."""
        dialect: Any = DefaultDialect
        file: Any = OutputFile
        write, append, commit = file._write, file.append, dialect.do_commit

        def writes(it: Any, opened: Any, data: bytes) -> None:
            half = len(data) // 2
            write(it, opened, data[:half])
            self("in the midst")
            write(it, opened, data[half:])

        def appends(it: Any, offset: int, data: bytes) -> int:
            self("before the file")
            end: int = append(it, offset, data)
            self("behind the file")
            return end

        def commits(it: Any, connection: Any) -> None:
            self("before the commit")
            commit(it, connection)
            self("behind the commit")

        file._write, file.append, dialect.do_commit = writes, appends, commits


def call(ledger: Path, item: int) -> dict[str, int]:
    """Note the call where a kill does not lose it."""
    with ledger.open("a") as file:
        file.write(f"{item}\n")
    return {"n": item}


def pipeline(path: Path, ledger: Path) -> Pipeline:
    """With few rows in a batch."""
    sink = JsonLinesSink(path, max_items=2, max_seconds=0.001)
    return Pipeline(Stage("call", lambda item: call(ledger, item)), sink=sink, store=RunStore(), name="killed")


if __name__ == "__main__":
    _, folder, place, number, count = sys.argv
    Places(place, int(number)).watch()
    pipeline(Path(folder, "out.jsonl"), Path(folder, "ledger")).run(range(int(count)))
