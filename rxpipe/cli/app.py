"""The start of the program."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from io import TextIOWrapper

from rxpipe.extras import install

_LEAVING = 5.0  # seconds that a program may take to end after a signal, once its run is over


def main() -> int:
    """Run the command line.

    Returns:
        The exit code, if the libraries of the command line are missing. Otherwise the call ends by ``SystemExit``.
    """
    for package in ("typer", "rich"):
        if find_spec(package) is None:
            print(f"error: the command line needs the extra cli: {install('cli')}", file=sys.stderr)
            return 2
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a character that the terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")

    from rxpipe.cli.messages import ExitCode
    from rxpipe.cli.parser.configs import app

    try:
        app(prog_name="rxpipe")
    except SystemExit as ended:
        code = ended.code
        if not _is_read() and code == ExitCode.OK:
            ended.code = ExitCode.FAILED
        if isinstance(code, int) and code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            _leave_within(_LEAVING, code)
        raise
    return 0


def _is_read() -> bool:
    """Returns False if the reader of the output has gone: ``head`` ends early. Python would report that at its end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _leave_within(seconds: float, code: int) -> None:
    """Limit the seconds of Python's own end. Python would wait for ever for a pool's thread, as of ``to_thread``."""

    def leave() -> None:
        time.sleep(seconds)
        with suppress(Exception):
            sys.stdout.flush()
        os._exit(code)

    threading.Thread(target=leave, name="rxpipe-leaving", daemon=True).start()
