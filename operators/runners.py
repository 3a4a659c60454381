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
from queue import SimpleQueue
from typing import Any, Protocol

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.scheduler import EventLoopScheduler, ImmediateScheduler, TrampolineScheduler, VirtualTimeScheduler

from .clock import running_loop, show_unhandled
from .deadlines import limited
from .errors import CallFailed, describe
from .gate import announcing

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


def call_context() -> contextvars.Context:
    """A copy of the current context for calls: what they subscribe to is not behind a gate of ours."""
    with announcing(None):
        return contextvars.copy_context()


class Worker:
    """Runs calls one after the other; in their context it tells how long the present one has.

    Attributes:
        call: The present one.
    """

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


class _Here(threading.local):
    """What the present thread is there for.

    Attributes:
        worker: Its worker, if it is there to run calls.
    """

    worker: Worker | None = None

    def is_free(self) -> bool:
        """Whether it is a worker's and not in a call: then what follows downstream may keep it."""
        return self.worker is not None and self.worker.call is None


HERE = _Here()


class ThreadRunner:
    """Daemon worker threads, made as needed: the stage bounds how many calls there are.

    Daemons, since a call that hangs for ever must not keep the process from ending. It is the home of its stage's
    mailbox, too.
    """

    queues = False
    cancels = False
    width = math.inf
    thread = 0
    shared = True

    def __init__(self, name: str) -> None:
        self._name = name
        self._context = call_context()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle: list[None] = []  # one for each thread that waits for a call; pop and append are atomic
        self._threads = 0
        self._closed = False

    def start(self, fn: Function, value: Any, call: Call) -> None:
        """Give the call to an idle thread, or to a new one."""
        if self._closed:
            raise RuntimeError("the stage is over")
        try:
            self._idle.pop()
        except IndexError:
            self._add_thread()  # before the call is given away: where no thread can be made, nobody is to run it
        self._jobs.put((fn, value, call))

    def _add_thread(self) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("the stage is over")
            name = f"rxpipe-{self._name}-{self._threads + 1}"
            threading.Thread(target=self._serve, name=name, daemon=True).start()
            self._threads += 1

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run ``action`` on one of the threads; here if there is none to be had."""
        try:
            self.start(_nothing, None, _Errand(action))
        except RuntimeError:
            action()

    def close(self) -> None:
        """Let each thread end after the call that it runs now."""
        with self._lock:
            self._closed = True
        for _ in range(self._threads):
            self._jobs.put(None)

    def _serve(self) -> None:
        while self._context.copy().run(self._serve_in_context):
            pass

    def _serve_in_context(self) -> bool:
        """Run calls until one leaves a changed context, then return true; false at the end."""
        worker = HERE.worker = Worker()
        while (job := self._jobs.get()) is not None:
            if self._closed:
                continue
            run_here(*job, worker)
            job = None  # an idle thread keeps no value alive
            self._idle.append(None)
            if not worker.is_clean():
                return True
        return False


class _Errand:
    """What a worker does for its stage, told as a call."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action

    def begin(self) -> bool:
        return True

    def done(self, ok: bool, result: Any) -> None:
        self._action()

    def remaining(self) -> float | None:
        return None


def _nothing(value: Any) -> None:
    pass


def run_here(fn: Function, value: Any, call: Call, worker: Worker) -> None:
    """Run a call on this thread, whatever it raises: ``SystemExit`` and ``KeyboardInterrupt`` end the call only."""
    worker.call = call
    try:
        ok, result = True, fn(value)
    except BaseException as error:  # noqa: BLE001 - the call's failure, whatever it is; the thread goes on
        ok, result = False, error
    worker.call = None  # what it goes on to do downstream is not the call
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
            former = HERE.worker
            self._context.run(_run_as_worker, *job, self._inline or running_loop() is not None)
            HERE.worker = former

    def give_up(self, error: BaseException) -> None:
        if job := self._take():
            job[2].done(False, error)

    def settled(self, future: Future[Any]) -> None:
        """Called when the future is done: it may have been cancelled, or its pool be broken."""
        error = CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self.give_up(error)


def _run_as_worker(fn: Function, value: Any, call: Call, borrowed: bool) -> None:
    worker = Worker()
    if not borrowed:
        HERE.worker = worker
    run_here(fn, value, call, worker)


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
