"""What a worker process of a pool does: it imports this module and little else before its first call."""

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
    """Run the calls that come, one after the other, until there is nobody who could send any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group, and a run that is stopped drains
    multiprocessing.current_process().daemon = False  # here it would only forbid functions to start processes
    threading.Thread(target=_end_with_parent, name="rxpipe-parent", daemon=True).start()
    try:
        connection.send_bytes(READY)
        while True:
            request = pickle.loads(connection.recv_bytes())
            connection.send_bytes(_reply(*request))
    except (EOFError, OSError):  # the other side has gone
        return


def _reply(function: bytes, value: bytes | None, seconds: float | None) -> bytes:
    if value is None:
        return pickle.dumps(what_is_missing(function))
    return run_shipped(function, value, seconds)


def _end_with_parent() -> None:
    """End at once if the process that has the pool does, in the midst of a call, too: nobody would take its result."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
