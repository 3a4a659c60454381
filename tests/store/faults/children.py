"""Processes that work on a run."""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from programs import PATIENCE, Program

from .work import ANSWER, Fault, Job

_TESTS = str(Path(__file__).parents[2])
_WORK = "import sys; from store.faults.work import work_on; work_on(sys.argv[1])"
_WORK_ON_ALL = "from store.faults.work import work_on_all; work_on_all()"


def _program(*arguments: str, **options: Any) -> Program:
    environment = {**os.environ, "PYTHONPATH": _TESTS}
    return Program("-c", *arguments, env=environment, imports=["store.faults.warm"], **options)


def _told(job: Job) -> str:
    with tempfile.NamedTemporaryFile(dir=job.directory, suffix=".job", delete=False) as file:
        pickle.dump(job, file)
    return file.name


class Part:
    """What one process does of a run.

    Attributes:
        job: The run.
        pid: The process.
    """

    job: Job
    pid: int

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has ended; the negative number of a signal that killed it."""
        raise NotImplementedError

    def finish(self, seconds: float = PATIENCE) -> dict[str, int]:
        """What it reports, having ended well."""
        code = self.wait(seconds)
        said = self.said()
        assert code == 0, f"process {self.pid} ended with {code}\n{said}"
        return next(json.loads(line.partition(" ")[2]) for line in said.splitlines() if line.startswith("finished "))

    def said(self) -> str:
        """All that it said and printed so far."""
        path = self.job.said_by(self.pid)
        return path.read_text() if path.exists() else ""

    def reached(self) -> str | None:
        """The place where it was hurt; None if it has not come there."""
        reached = (line.partition(" ")[2] for line in self.said().splitlines() if line.startswith("reached "))
        return next(reached, None)

    def end(self) -> None:
        """Leave nothing of it behind."""


class Child(Part):
    """A process of its own."""

    def __init__(self, job: Job, fault: Fault | None = None) -> None:
        """Start it."""
        self.job = replace(job, fault=fault)
        self._process = _program(_WORK, _told(self.job))
        self.pid = self._process.pid

    def wait(self, seconds: float = PATIENCE) -> int:
        """See ``Part``."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"process {self.pid} has not ended\n{self.said()}") from None

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def ended_well(self) -> bool:
        """Whether it has ended, and the run with it."""
        return self._process.poll() == 0

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def end(self) -> None:
        """Kill it if it has not ended."""
        self._process.kill()
        self._process.wait(PATIENCE)


class Servant:
    """A process that works on many runs, one after the other, where nothing ends it.

    For each run it is a process like any other, and it spares what starting one takes.
    """

    def __init__(self) -> None:
        """Start it."""
        self._process = _program(_WORK_ON_ALL, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid
        self._turns: list[Turn] = []  # that it has not ended, in order

    def __call__(self, job: Job, fault: Fault | None = None) -> Turn:
        """Let it work on a run when it is done with those before."""
        turn = Turn(self, replace(job, fault=fault))
        self._turns.append(turn)
        assert self._process.stdin is not None
        self._process.stdin.write(f"{_told(turn.job)}\n")
        self._process.stdin.flush()
        return turn

    def next_code(self, seconds: float) -> None:
        """Wait for the end of its next turn."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        turn = self._turns.pop(0)
        assert ready, f"process {self.pid} has not ended\n{turn.said()}"
        turn.code = int(os.read(self._process.stdout.fileno(), ANSWER))

    def close(self) -> None:
        """Kill it."""
        with self._process:
            self._process.kill()


class Turn(Part):
    """What a servant does of a run.

    Attributes:
        code: The exit code that a process of its own would have had, once it has ended.
    """

    def __init__(self, servant: Servant, job: Job) -> None:
        self._servant = servant
        self.job = job
        self.pid = servant.pid
        self.code: int | None = None

    def wait(self, seconds: float = PATIENCE) -> int:
        """See ``Part``."""
        while self.code is None:
            self._servant.next_code(seconds)
        return self.code
