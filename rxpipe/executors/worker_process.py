"""The code of a worker process in a pool. It imports this module and little else before its first call."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from multiprocessing.connection import Connection

from rxpipe.executors.serialization import run_shipped, what_is_missing

READY = b""


def serve(connection: Connection) -> None:
    """Run calls one after the other, until the pool is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group, and a stopped run drains
    multiprocessing.current_process().daemon = False  # a daemon process could not start processes
    threading.Thread(target=_end_with_parent, name="rxpipe-parent", daemon=True).start()
    try:
        connection.send_bytes(READY)
        while True:
            request = pickle.loads(connection.recv_bytes())
            connection.send_bytes(_reply(*request))
    except (EOFError, OSError):  # the pool is gone
        return


def _reply(function: bytes, value: bytes | None, seconds: float | None) -> bytes:
    if value is None:
        return pickle.dumps(what_is_missing(function))
    return run_shipped(function, value, seconds)


def _end_with_parent() -> None:
    """End this process at once if the pool's process ends, even during a call: nobody would take the result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
