"""Where calls run: one port, with an adapter for each kind of place.

``Runner.start(fn, value, call)`` starts ``fn(value)`` and reports to the call, from any thread: ``begin()`` once it
really runs (only where it may have had to queue), and ``done(ok, result)`` once, also after it was disposed,
when the place is free again.

Calls run in copies of the context in which the stage was subscribed to. A worker keeps its copy for as long as the
calls leave it as it was, which is cheap to see; one that sets a context variable ends with it.
"""

from __future__ import annotations

import contextvars
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Protocol

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable

from .clock import show_unhandled
from .deadlines import limited
from .errors import CallFailed, describe
from .gate import announcing

Function = Callable[[Any], Any]


class Call(Protocol):
    """What a runner reports to."""

    def begin(self) -> None:
        """The function starts now."""
        ...

    def done(self, ok: bool, result: Any) -> None:
        """The function returned ``result``, or raised it."""
        ...

    def remaining(self) -> float | None:
        """Seconds left until the call's deadline."""
        ...


Job = tuple[Function, Any, Call]


class Runner(Protocol):
    """Starts calls in one kind of place.

    Attributes:
        queues: Whether a call may have to wait before it begins, and says so by ``begin()``.
        cancels: Whether disposing a call ends it soon; if not, it goes on until it returns of itself.
    """

    queues: bool
    cancels: bool

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase | None:
        """Start ``fn(value)``; the result cancels it, where that is possible."""
        ...

    def close(self) -> None:
        """Start no more calls, and free what is idle."""
        ...


def call_context() -> contextvars.Context:
    """A copy of the current context for calls: what they subscribe to is not behind a gate of ours."""
    with announcing(None):
        return contextvars.copy_context()


class Worker:
    """Runs calls one after the other; in their context it tells how long the present one has."""

    call: Call | None = None

    def __init__(self) -> None:
        limited.set(self)
        self._context = contextvars.copy_context()

    def remaining(self) -> float | None:
        """Seconds left to the present call."""
        return None if self.call is None else self.call.remaining()

    def is_clean(self) -> bool:
        """Whether the calls so far have left the context as it was."""
        try:
            return contextvars.copy_context() == self._context
        except Exception:  # noqa: BLE001 - a foreign __eq__ was asked: so something was set
            return False


class ThreadRunner:
    """Daemon worker threads, made as needed: the stage bounds how many calls there are.

    Daemons, since a call that hangs for ever must not keep the process from ending.
    """

    queues = False
    cancels = False

    def __init__(self, name: str) -> None:
        self._name = name
        self._context = call_context()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0

    def start(self, fn: Function, value: Any, call: Call) -> None:
        """Give the call to an idle thread, or to a new one."""
        with self._lock:
            needed = self._idle == 0
            if needed:
                self._threads += 1
            else:
                self._idle -= 1
        self._jobs.put((fn, value, call))
        if needed:
            name = f"rxpipe-{self._name}-{self._threads}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()

    def close(self) -> None:
        """Let each thread end after the call that it runs now."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _serve(self) -> None:
        while self._context.copy().run(self._serve_in_context):
            pass

    def _serve_in_context(self) -> bool:
        """Run calls until one leaves a changed context, then return true; false at the end."""
        worker = Worker()
        while (job := self._jobs.get()) is not None:
            worker.call = job[2]
            run_here(*job)
            worker.call = None
            job = None  # an idle thread keeps no value alive
            with self._lock:
                self._idle += 1
            if not worker.is_clean():
                return True
        return False


def run_here(fn: Function, value: Any, call: Call) -> None:
    """Run a call on this thread, whatever it raises: ``SystemExit`` and ``KeyboardInterrupt`` end the call only."""
    try:
        ok, result = True, fn(value)
    except BaseException as error:  # noqa: BLE001 - the call's failure, whatever it is; the thread goes on
        ok, result = False, error
    try:
        call.done(ok, result)
    except BaseException as error:  # noqa: BLE001 - nobody is left to take it, and the thread goes on
        show_unhandled(error)


class SchedulerRunner:
    """A reactivex scheduler: an action per call."""

    queues = True
    cancels = False

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler
        self._context = call_context()

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Schedule the call."""
        job = _Queued((fn, value, call), self._context.copy())

        def run(scheduler: SchedulerBase, state: Any = None) -> None:
            job.run()

        scheduled = self._scheduler.schedule(run)

        def cancel() -> None:
            scheduled.dispose()
            job.cancel()

        return Disposable(cancel)

    def close(self) -> None:
        """Nothing to free: the scheduler is its owner's."""


class ExecutorRunner:
    """Any ``concurrent.futures.Executor``.

    On a thread pool a call reports when it begins. On any other, the function itself travels, so it and its
    values must pickle; time in the executor's own queue counts as running there.
    """

    cancels = False

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._context = call_context()
        self.queues = isinstance(executor, ThreadPoolExecutor)

    @property
    def width(self) -> float | None:
        """How many calls the executor runs at once, where it says so."""
        return getattr(self._executor, "_max_workers", None)

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Submit the call."""
        if self.queues:
            job = _Queued((fn, value, call), self._context.copy())
            future: Future[Any] = self._executor.submit(job.run)

            def cancel() -> None:
                if future.cancel():
                    job.cancel()

            return Disposable(cancel)
        future = self._executor.submit(run_portably, fn, value)
        future.add_done_callback(lambda future: _report(future, call))

        def cancel_queued() -> None:
            future.cancel()

        return Disposable(cancel_queued)

    def close(self) -> None:
        """Nothing to free: the executor is its owner's."""


class _Queued:
    """A call that waits in somebody else's queue: it either begins or is cancelled, never both."""

    __slots__ = ("_context", "_job", "_lock")

    def __init__(self, job: Job, context: contextvars.Context) -> None:
        self._job: Job | None = job
        self._context = context
        self._lock = threading.Lock()

    def _take(self) -> Job | None:
        with self._lock:
            job, self._job = self._job, None
            return job

    def run(self) -> None:
        if job := self._take():
            call = job[2]
            call.begin()
            self._context.run(limited.set, call)
            self._context.run(run_here, *job)

    def cancel(self) -> None:
        if job := self._take():
            job[2].done(False, CancelledError())


def run_portably(fn: Function, value: Any) -> tuple[bool, Any]:
    """Run a call in another process; what it raises comes back as it is if it can, else as its description."""
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
