"""Python programs that tests start, forked from a process that has imported rxpipe.

A new interpreter needs a second of processor time until rxpipe runs in it; a fork needs a few milliseconds. A forked
program is a process like any other: it takes signals, can be killed, and ends as an interpreter ends. The differences:

- It has a session of its own.
- Warnings are errors in it.
- It ends without taking apart what was imported; what it leaves behind itself is collected.
- What it imports has been imported. Where that matters, or how an interpreter starts, use ``subprocess``.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds that a program may take, on a busy machine


class Program(subprocess.Popen[str]):
    """``subprocess.Popen`` for a program of Python.

    Args:
        arguments: Those that follow ``python``: a script, ``-m`` or ``-c`` first.
        imports: Modules that are imported before the fork, for this program and those to come.
        options: Those of ``Popen`` that set the folder, the environment and the standard streams. Streams are text.
    """

    def __init__(self, *arguments: str | Path, imports: Iterable[str] = (), **options: Any) -> None:
        self._imports = list(imports)
        super().__init__([*map(str, arguments)], text=True, **options)

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        """Have it forked, instead of forking; the rest is what ``Popen`` passes to its own method of this name."""
        cwd, env, pipes = rest[4], rest[5], rest[9:15]
        told = {
            "arguments": args,
            "cwd": os.path.abspath(cwd or "."),
            "env": dict(os.environ if env is None else env),
            "imports": self._imports,
        }
        files = [number if file == -1 else file for number, file in enumerate((pipes[0], pipes[3], pipes[5]))]
        self._status, theirs = os.pipe()
        try:
            socket.send_fds(_server(), [json.dumps(told).encode()], [theirs, *files])
        finally:
            os.close(theirs)
            popen: Any = super()  # its types lack its private methods
            popen._close_pipe_fds(*pipes)
        self.pid = int.from_bytes(os.read(self._status, 8))
        self._child_created = True

    def wait(self, timeout: float | None = None) -> int:
        """See ``Popen``, which would look again and again."""
        if timeout is not None and self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return super().wait()

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """What ``os.waitpid`` would tell, were it our child."""
        if wait_flags == os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        ended = int.from_bytes(os.read(self._status, 8))
        os.close(self._status)
        return self.pid, ended

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        """As ``Popen`` does it, whose own has other arguments in each version of Python."""
        popen: Any = self
        if popen._waitpid_lock.acquire(blocking=False):  # else another thread waits
            try:
                if self.returncode is None and (ended := self._try_wait(os.WNOHANG))[0]:
                    popen._handle_exitstatus(ended[1])
            finally:
                popen._waitpid_lock.release()
        return self.returncode


def run(*arguments: str | Path, timeout: float = PATIENCE, **options: Any) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` for a ``Program``, whose output is captured."""
    with Program(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as program:
        try:
            out, err = program.communicate(timeout=timeout)
        finally:
            program.kill()
    return subprocess.CompletedProcess(arguments, program.returncode, out, err)


@cache
def _server() -> socket.socket:
    """A way to the process that forks, which ends with this one."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-W", "error", str(Path(__file__).with_name("forkserver.py"))]
        server = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL)

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours
