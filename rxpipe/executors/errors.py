"""Errors of calls in other processes, apart from errors of the function itself.

::

    RxPipeError
    └── CallKilled      the processes that ran a call ended during the call, again and again

    StopRun (rxpipe.errors)
    └── ExecutorLost    no process can be started, or no scheduler can be reached: the run stops
"""

from __future__ import annotations

import signal
from typing import Any

from rxpipe.errors import StopRun
from rxpipe.operators.errors import RxPipeError


class CallKilled(RxPipeError):
    """The process that ran a call ended during the call, and so did the next process with that call.

    This counts as one attempt of the call. The error is ``transient``: if memory ran out, it may suffice another time.
    """

    kind = "transient"


class ExecutorLost(StopRun):
    """No more calls can be made: the cluster cannot be reached, or no process can be started.

    The run stops as after any ``StopRun``: items are given back. With a store, the same command continues with them.
    """


def exit_text(code: int | None) -> str:
    """Returns how a process ended, in words."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name: Any = signal.Signals(-code).name
    except ValueError:
        name = -code
    return f"was killed by signal {name}" + (", as by the system when memory runs out" if code == -9 else "")
