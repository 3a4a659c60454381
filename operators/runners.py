"""Where calls run: one port, with an adapter for each kind of place.

``Runner.start(fn, value, call)`` starts ``fn(value)`` and reports to the call, from any thread: ``begin()`` once it
really runs (only where it may have had to queue), and ``done(ok, result)`` once, also after it was disposed,
when the place is free again.

Calls run in copies of the context in which the stage was subscribed to. A worker keeps its copy for as long as the
calls leave it as it was, which is cheap to see; one that sets a context variable ends with it.
"""

from __future__ import annotations

import contextvars
import inspect
import math
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import EventLoopScheduler, ImmediateScheduler, TrampolineScheduler, VirtualTimeScheduler

from .clock import guarded, running_loop, show_unhandled
from .errors import CallFailed, describe
from .gate import announcing
from .running_call import Usage, running_call
from .threads import WORKER_THREADS

Function = Callable[[Any], Any]


class Call(Protocol):
    """What a runner reports to."""

    def begin(self) -> bool:
        """The function starts now; unless this is false: then nobody wants it any more."""
        ...

    def done(self, ok: bool, result: Any) -> None:
        """The function returned ``result``, or raised it."""
        ...

    def remaining(self) -> float | None:
        """Seconds left until the call's deadline."""
        ...

    def record(self, usage: Usage) -> None:
        """The function has used this."""
        ...

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt follows if the function raises this."""
        ...


Job = tuple[Function, Any, Call]


class Runner(Protocol):
    """Starts calls in one kind of place.

    Attributes:
        queues: Whether a call may have to wait before it begins, and says so by ``begin()``.
        cancels: Whether disposing a call ends it soon; if not, it goes on until it returns of itself.
        width: Calls that can run there at once, those that were disposed and go on included; ``math.inf`` if that
            is not known.
    """

    queues: bool
    cancels: bool
    width: float

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase | None:
        """Start ``fn(value)``; the result cancels it, where that is possible."""
        ...

    def close(self) -> None:
        """Start no more calls, and free what is idle."""
        ...


@runtime_checkable
class Engine(Protocol):
    """A place for calls that is none of the known kinds, and brings its own runners: a cluster, say."""

    def runner(self) -> Runner:
        """One for a stage that is being subscribed to, which closes it."""
        ...


def call_context() -> contextvars.Context:
    """A copy of the current context for calls: what they subscribe to is not behind a gate of ours."""
    with announcing(None):
        return contextvars.copy_context()


class Worker:
    """Runs calls one after the other in a context of its own, where it tells how long the present one has.

    Attributes:
        call: The present one.
        context: Where they run.
    """

    call: Call | None = None

    def __init__(self, context: contextvars.Context) -> None:
        self.context = context
        context.run(running_call.set, self)
        self._fresh = context.copy()

    def remaining(self) -> float | None:
        """Seconds left to the present call."""
        call = self.call  # read once, here and below: a thread that the call has started may ask when it has ended
        return None if call is None else call.remaining()

    def record(self, usage: Usage) -> None:
        """The present call has used this."""
        if (call := self.call) is not None:
            call.record(usage)

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt follows if the present call fails with this."""
        return (call := self.call) is not None and call.retries(error)

    def is_clean(self) -> bool:
        """Whether the calls so far have left the context as it was."""
        try:
            return self.context == self._fresh
        except Exception:  # noqa: BLE001 - a foreign __eq__ was asked: so something was set
            return False

    def run(self, fn: Function, value: Any, call: Call) -> None:
        """Run a call, in the context, whatever it raises: ``SystemExit`` ends the call only."""
        self.call = call
        try:
            ok, result = True, fn(value)
        except BaseException as error:  # noqa: BLE001 - the call's failure, whatever it is; the thread goes on
            ok, result = False, error
        self.call = None  # what it goes on to do downstream is not the call
        try:
            call.done(ok, result)
        except BaseException as error:  # noqa: BLE001 - nobody is left to take it, and the thread goes on
            show_unhandled(error)


class _Here(threading.local):
    """What the present thread is there for.

    Attributes:
        worker: Its worker, if it is there to run calls.
    """

    worker: Worker | None = None


HERE = _Here()


class ThreadRunner:
    """The worker threads. They are the home of their stage's mailbox, too."""

    queues = False
    cancels = False
    width = math.inf
    shared = True

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

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on one of the threads; here if there is none to be had."""
        self._submit(self._act, guarded, action)

    def _act(self, action: Callable[[], None]) -> None:
        worker = HERE.worker = Worker(self._context.copy())
        worker.context.run(guarded, action)

    def close(self) -> None:
        """Start no more calls."""
        self._closed = True
        WORKER_THREADS.leave(self)


class SchedulerRunner:
    """A reactivex scheduler: an action per call."""

    queues = True
    cancels = False

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler
        self._context = call_context()
        self.width = 1.0 if isinstance(scheduler, EventLoopScheduler) else math.inf
        #: Whether calls run on the thread that starts them.
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
        self.width: float = getattr(executor, "_max_workers", math.inf)  # the standard ones keep it there

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
            future.cancel()  # succeeds only while it is queued

        return Disposable(cancel)

    def close(self) -> None:
        """Nothing to free: the executor is its owner's."""


class _Queued:
    """A call that waits in somebody else's queue: it either begins or is given up, never both."""

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
        """Called when the future is done: it may have been cancelled, or its pool be broken."""
        error = CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self.give_up(error)


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


def discard(result: Any) -> None:
    """Let go of a result that nobody takes: a coroutine is closed, as Python warns of one that was never awaited."""
    if inspect.iscoroutine(result):
        result.close()
