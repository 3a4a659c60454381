"""The values of a generator in a simulation: one after the other, evenly spread over the call."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import partial
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase

from rxpipe.foresight.virtual.server import Server
from rxpipe.operators.core.worker import Call, Function
from rxpipe.operators.sources import from_iterable
from rxpipe.operators.stage import stage


def paced(values: Collection[str], seconds: float, server: Server) -> Observable[Any]:
    """Emits values one by one, with the same work for each. The next value waits while there is no room downstream.

    Args:
        values: The values to emit.
        seconds: The work for all values together, in seconds.
        server: The server that does the work.
    """
    each = seconds / max(1, len(values))
    return from_iterable(values).pipe(stage(_same, queue_size=0, scheduler=_Pace(server, each)))


def _same(value: Any) -> Any:
    return value


class _Pace:
    """An executor whose calls all take the same work. It is its own runner."""

    queues, cancels, width = False, True, math.inf

    def __init__(self, server: Server, seconds: float) -> None:
        self._server = server
        self._seconds = seconds

    def runner(self) -> _Pace:
        return self

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        return self._server.start(self._seconds, partial(call.done, True, value))

    def close(self) -> None:
        pass
