"""Runs calls on worker threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..core.clock import guarded
from ..core.threads import WORKER_THREADS
from ..core.worker import HERE, Call, Function, Worker, call_context, worker_is_free


class ThreadRunner:
    """Runs calls on the worker threads. The threads empty their stage's mailbox, too."""

    queues = False
    cancels = False
    width = math.inf

    def __init__(self) -> None:
        self._context = call_context()
        self._spare: list[Worker] = []
        self._closed = False
        self._submit = WORKER_THREADS.submit
        WORKER_THREADS.enter(self)

    def start(self, fn: Function, value: Any, call: Call) -> None:
        """Give the call to a thread."""
        if self._closed:
            raise RuntimeError("the stage is over")
        self._submit(self._run, self._refused, fn, value, call)

    def _refused(self, fn: Function, value: Any, call: Call) -> None:
        call.done(False, RuntimeError("no thread can be started"))

    def _run(self, fn: Function, value: Any, call: Call) -> None:
        if self._closed:
            return
        try:
            worker = self._spare.pop()
        except IndexError:
            worker = Worker(self._context.copy())
        HERE.worker = worker
        worker.context.run(worker.run, fn, value, call)
        if worker.is_clean():
            self._spare.append(worker)

    def is_here(self) -> bool:
        """Returns True if this is one of the threads, and it is not in the middle of a call."""
        return worker_is_free()

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on one of the threads; or here if no thread can be had."""
        self._submit(self._act, guarded, action)

    def _act(self, action: Callable[[], None]) -> None:
        worker = HERE.worker = Worker(self._context.copy())
        worker.context.run(guarded, action)

    def close(self) -> None:
        """Start no more calls."""
        self._closed = True
        WORKER_THREADS.leave(self)
