"""What goes wrong with calls in other processes that is not the function's own failure.

::

    RxPipeError
    └── CallKilled      the processes that ran a call ended in the midst of it, again and again

    StopRun (rxpipe.errors)
    └── ExecutorLost    no process can be started, or no scheduler be reached: the run stops
"""

from __future__ import annotations

import signal
from typing import Any

from rxpipe.errors import StopRun
from rxpipe.operators.errors import RxPipeError


class CallKilled(RxPipeError):
    """The process that ran a call ended in the midst of it, and so did the one that the call was given to next.

    It is one attempt of the call, and ``transient``: memory that ran out may suffice another time.
    """

    kind = "transient"


class ExecutorLost(StopRun):
    """Calls cannot be made any more, as there is no way to the cluster, or no process can be started.

    The run stops as after any ``StopRun``: items are given back, and with a store the same command goes on with them.
    """


def exit_text(code: int | None) -> str:
    """How a process ended."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name: Any = signal.Signals(-code).name
    except ValueError:
        name = -code
    return f"was killed by signal {name}" + (", as by the system when memory runs out" if code == -9 else "")
