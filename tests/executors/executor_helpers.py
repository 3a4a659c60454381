"""What tests of executors look at from outside: processes, threads, rows."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types
from programs import Program


def workers() -> set[psutil.Process]:
    """Processes that this one has started; without the tests' cluster, and what serves multiprocessing for good."""
    found: set[psutil.Process] = set()
    for process in psutil.Process().children():
        try:
            command = " ".join(process.cmdline())
            if "forkserver.py" in command:  # the tests' own, which started the cluster
                continue
            if "forkserver" in command:
                found |= set(process.children())
            elif "resource_tracker" not in command:
                found.add(process)
        except psutil.NoSuchProcess:
            continue
    return {process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE}


def threads() -> set[threading.Thread]:
    """Those of rxpipe and of Dask that should not outlast a run."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(("rxpipe-", "IO loop"))}


def connections() -> int:
    """How many sockets are open, those to other programs and those that are listened to."""
    return len(psutil.Process().net_connections())


def rows(path: Path) -> list[int]:
    """The IDs that are written."""
    with closing(sqlite3.connect(path)) as database:
        return sorted(int(row[0]) for row in database.execute("SELECT id FROM results WHERE status = 'written'"))


@contextmanager
def a_cluster(*arguments: int) -> Generator[tuple[subprocess.Popen[str], str]]:
    """A Dask cluster's process, and its address; its workers can import the tests' stages."""
    options: dict[str, Any] = {
        "env": {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "imports": ["distributed"],
    }
    with Program(Path(__file__).with_name("a_cluster.py"), *map(str, arguments), **options) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.communicate()
