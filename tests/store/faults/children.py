"""Processes that work on a run, forked from a server that has imported all that they need."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace

from .work import Fault, Job, work

_CONTEXT = multiprocessing.get_context("forkserver")
_DIALECTS = ["sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite"]
_CONTEXT.set_forkserver_preload(["pytest", "rxpipe.driving", "rxpipe.store", *_DIALECTS, "psycopg"])
PATIENCE = 60.0  # seconds that a process may take, on a busy machine


class Child:
    """A process that works on a run.

    Attributes:
        pid: Its number.
    """

    def __init__(self, job: Job, fault: Fault | None = None) -> None:
        """Start it."""
        self.job = replace(job, fault=fault)
        self._process = _CONTEXT.Process(target=work, args=(self.job,), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self._is_closed = False

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code, once it has ended; the negative number of a signal that killed it."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"process {self.pid} has not ended\n{self.said()}"
        return self._process.exitcode

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

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    @property
    def ended_well(self) -> bool:
        """Whether it has ended, and the run with it."""
        return self._process.exitcode == 0

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self._process.is_alive():
            os.kill(self.pid, number)

    def end(self) -> None:
        """Kill it if it has not ended."""
        if not self._is_closed:
            self._is_closed = True
            self._process.kill()
            self._process.join(PATIENCE)
            self._process.close()
