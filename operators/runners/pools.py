"""Runs calls in pools that their owner closes: reactivex schedulers, and executors of ``concurrent.futures``."""

from __future__ import annotations

import contextvars
import math
import pickle
import threading
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from typing import Any

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import EventLoopScheduler, ImmediateScheduler, TrampolineScheduler, VirtualTimeScheduler

from ..core.clock import running_loop
from ..core.worker import HERE, Call, Function, Worker, call_context
from ..errors import CallFailed, describe

Job = tuple[Function, Any, Call]


class SchedulerRunner:
    """Runs calls on a reactivex scheduler, one action per call."""

    queues = True
    cancels = False

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler
        self._context = call_context()
        self.width = 1.0 if isinstance(scheduler, EventLoopScheduler) else math.inf
        #: True if calls run on the thread that starts them.
        self.inline = isinstance(scheduler, (ImmediateScheduler, TrampolineScheduler, VirtualTimeScheduler))

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Schedule the call."""
        job = _Queued((fn, value, call), self._context.copy(), inline=self.inline)

        def run(scheduler: SchedulerBase, state: Any = None) -> None:
            job.run()

        scheduled = self._scheduler.schedule(run)

        def cancel() -> None:
            scheduled.dispose()
            job.give_up(CancelledError())

        return Disposable(cancel)

    def close(self) -> None:
        """Nothing to free: the owner closes the scheduler."""


class ExecutorRunner:
    """Runs calls on any ``concurrent.futures.Executor``.

    On a thread pool, a call reports its beginning. On any other executor, the function itself is sent, so the function
    and its values must pickle. There, time in the executor's own queue counts as running.
    """

    cancels = False

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._context = call_context()
        self.queues = isinstance(executor, ThreadPoolExecutor)
        self.width: float = getattr(executor, "_max_workers", math.inf)  # the standard executors keep it there

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Submit the call."""
        if self.queues:
            job = _Queued((fn, value, call), self._context.copy())
            future: Future[Any] = self._executor.submit(job.run)
            future.add_done_callback(job.settled)
        else:
            future = self._executor.submit(run_portably, fn, value)
            future.add_done_callback(lambda future: _report(future, call))

        def cancel() -> None:
            future.cancel()  # succeeds only while the call is queued

        return Disposable(cancel)

    def close(self) -> None:
        """Nothing to free: the owner closes the executor."""


class _Queued:
    """A call in a queue that is not ours. It either begins or is given up, never both."""

    __slots__ = ("_context", "_inline", "_job", "_lock")

    def __init__(self, job: Job, context: contextvars.Context, *, inline: bool = False) -> None:
        self._job: Job | None = job
        self._context = context
        self._inline = inline
        self._lock = threading.Lock()

    def _take(self) -> Job | None:
        with self._lock:
            job, self._job = self._job, None
            return job

    def run(self) -> None:
        if job := self._take():
            if not job[2].begin():
                return
            worker, former = Worker(self._context), HERE.worker
            if not self._inline and running_loop() is None:
                HERE.worker = worker
            worker.context.run(worker.run, *job)
            HERE.worker = former

    def give_up(self, error: BaseException) -> None:
        if job := self._take():
            job[2].done(False, error)

    def settled(self, future: Future[Any]) -> None:
        """Called when the future is done. The future may have been cancelled, or its pool may be broken."""
        error = CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self.give_up(error)


def run_portably(fn: Function, value: Any) -> tuple[bool, Any]:
    """Run a call in another process. An error that cannot be pickled comes back as its description."""
    try:
        return True, fn(value)
    except BaseException as error:  # noqa: BLE001 - SystemExit would end the worker, and with it the whole pool
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - whatever a foreign __reduce__ raises
            return False, CallFailed(describe(error))
        return False, error


def _report(future: Future[Any], call: Call) -> None:
    try:
        ok, result = future.result()
    except BaseException as error:  # noqa: BLE001 - a broken pool, a cancelled or unpicklable call
        ok, result = False, error
    call.done(ok, result)
