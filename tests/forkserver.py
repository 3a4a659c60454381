"""Starts Python programs by forking: it has imported what most of them need, and each starts within milliseconds.

``programs.py`` starts it, with a socket as its standard input. Each message on it describes one program (its arguments,
folder and environment) and brings four open files: one for its status, and its standard input, output and error.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

LONGEST = 1 << 17  # bytes of a message
WARM = [
    "rxpipe.cli.parser.configs",
    "rxpipe.pipeline.blocking",
    "rxpipe.store",
    "rxpipe.config",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
    "psycopg",
]


def _nothing(_signal: int, _frame: object) -> None:
    pass


class Programs:
    """Those that run: whoever asked for one is told its process ID at once, and its status when it has ended."""

    def __init__(self) -> None:
        self._statuses: dict[int, int] = {}  # by process, the pipe on which it is told
        self.woken, self._wake = os.pipe()  # one end can be read when a process has ended
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, _nothing)

    def fork(self, status: int) -> bool:
        """Fork one; returns whether this is it."""
        program = os.fork()
        if program == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for file in (self.woken, self._wake, status, *self._statuses.values()):
                os.close(file)
            return True
        self._statuses[program] = status
        os.write(status, program.to_bytes(8))
        return False

    def wait(self) -> None:
        """Tell of those that have ended."""
        os.read(self.woken, LONGEST)
        for program, status in list(self._statuses.items()):
            if (ended := os.waitpid(program, os.WNOHANG))[0]:
                with suppress(BrokenPipeError):  # nobody asks any more
                    os.write(status, ended[1].to_bytes(8))
                os.close(self._statuses.pop(program))


def next_program() -> tuple[dict[str, Any], list[int]]:
    """Fork for each program that is asked for; returns in the new processes, with what they are told and given."""
    programs = Programs()
    with socket.socket(fileno=0) as asking:
        while True:
            ready, _, _ = select.select([asking.fileno(), programs.woken], [], [])
            if programs.woken in ready:
                programs.wait()
            if asking.fileno() not in ready:
                continue
            message, files, _, _ = socket.recv_fds(asking, LONGEST, 4)
            if not message:
                os._exit(0)
            status, *files = files
            told = json.loads(message)
            prepare(told)
            if programs.fork(status):
                return told, files
            for file in files:
                os.close(file)


def prepare(told: dict[str, Any]) -> None:
    """Import what a program wants to find imported."""
    before = sys.path[:]
    sys.path += paths(told)
    for name in told["imports"]:
        if name not in sys.modules:
            with suppress(ImportError):  # the program will come across it
                importlib.import_module(name)
                gc.freeze()  # what is shared stays shared
    sys.path[:] = before


def paths(told: dict[str, Any]) -> list[str]:
    """Where a program looks for modules first."""
    return [path for path in told["env"].get("PYTHONPATH", "").split(os.pathsep) if path not in ["", *sys.path]]


def become(told: dict[str, Any], files: list[int]) -> list[str]:
    """Be the program: its session, files, folder, environment. Returns its arguments, as Python would be given them."""
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.closerange(3, max(files) + 1)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has let background jobs ignore it
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    sys.path[1:1] = paths(told)
    arguments: list[str] = told["arguments"]
    return arguments


def run(arguments: list[str]) -> None:
    """Run it as Python would: ``-m MODULE``, ``-c CODE`` or a script, and its own arguments."""
    kind, *rest = arguments
    if kind == "-m":
        sys.argv, sys.path[0] = rest, os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv, sys.path[0] = ["-c", *rest[1:]], ""
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[0] = arguments, os.path.dirname(os.path.abspath(kind))
        runpy.run_path(kind, run_name="__main__")


def end(program: Callable[[], None]) -> NoReturn:
    """Run it, and end as Python would; but without taking all apart that was imported, which takes longer than most.

    What the program itself leaves behind is collected, so that it may complain.
    """
    status = 0
    try:
        program()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as error:  # noqa: BLE001 - shown
        sys.excepthook(type(error), error, error.__traceback__)
        status = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading: Any = importlib.import_module("threading")
    threading._shutdown()
    exits: Any = atexit
    exits._run_exitfuncs()
    gc.collect()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


def main() -> None:
    sys.path[0] = ""  # of programs, none of which is here
    for name in WARM:
        importlib.import_module(name)
    gc.freeze()  # what is shared stays shared
    arguments = become(*next_program())
    end(lambda: run(arguments))


if __name__ == "__main__":
    main()
