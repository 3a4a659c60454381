"""``Processes``: makes calls in worker processes on this machine, for work that keeps a core busy.

Each process has a thread here that gives it one call at a time. So it is known with which call a process ends, and a
call can be stopped by killing its process. ``ProcessPoolExecutor`` can do neither: it breaks as a whole when one of its
processes dies.
"""

from __future__ import annotations

import math
import multiprocessing
import pickle
import threading
from collections import deque
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, ClassVar, Literal

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxpipe.executors.engine import EngineSettings, OpenEngine
from rxpipe.executors.errors import CallKilled, ExecutorLost, exit_text
from rxpipe.executors.serialization import Function, Pickler, Reply, unpacked
from rxpipe.executors.worker_process import serve
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.core.worker import Call
from rxpipe.operators.errors import describe

_PATIENCE = 10.0  # seconds to wait for the end of a killed process
_PAUSES = (0.1, 0.2, 0.4, 0.8)  # seconds between starts that fail in a row
_GUARD = '; if the program is a script, its main part must stand behind: if __name__ == "__main__":'


@dataclass(frozen=True, slots=True)
class Processes(EngineSettings):
    """A pool of worker processes on this machine.

    ::

        Stage("grading", grade, timeout=60, executor=Processes(4))

    - Functions and values must pickle.
    - A call that times out or is cancelled is really stopped: its process is killed, and another one is started.
    - If a process dies by itself, its call is made again at once. If that process dies, too, the call fails with
      ``CallKilled``. Other calls are not affected.
    - A process that is killed while it starts is started again.
    - Processes start when they are first needed. They are not started by ``fork``, since there are threads. So put the
      main part of a script behind ``if __name__ == "__main__":``.
    - They end with the process that started them, however that ends.

    Attributes:
        workers: Number of processes.
        start_method: ``forkserver`` (the default where it exists) starts processes faster. ``spawn`` shares nothing
            between them.
    """

    workers: int
    start_method: Literal["forkserver", "spawn"] | None = None

    where: ClassVar[str] = "a worker process"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: ``workers`` is no whole number of at least 1, or there is no such start method.
        """
        workers: Any = self.workers
        if not (isinstance(workers, int) and not isinstance(workers, bool) and workers >= 1):
            raise ValueError(f"workers must be a whole number of at least 1, not {workers!r}")
        methods = [name for name in multiprocessing.get_all_start_methods() if name != "fork"]
        if self.start_method is not None and self.start_method not in methods:
            raise ValueError(f"start_method must be one of {', '.join(methods)}, not {self.start_method!r}")

    @property
    def width(self) -> int:
        """Number of calls that can run at once: the number of processes."""
        return self.workers

    def pickler(self) -> Pickler:
        """The pickle of the standard library."""
        return pickle

    def _open(self) -> OpenEngine:
        return _Pool(self.workers, self.start_method or _default_start_method())


def _default_start_method() -> str:
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


class _Job:
    """One call, from its submission to its end.

    Attributes:
        slot: The slot that runs the call, or None.
        cancelled: True if the call is no longer wanted.
        spared: True if a process has died with the call before.
    """

    __slots__ = ("call", "cancelled", "function", "slot", "spared", "value")

    def __init__(self, function: bytes, value: bytes | None, call: Call) -> None:
        self.function = function
        self.value = value
        self.call = call
        self.slot: _WorkerSlot | None = None
        self.cancelled = False
        self.spared = False


class _Pool(OpenEngine):
    """Worker processes, and the calls that wait for them."""

    def __init__(self, workers: int, start_method: str) -> None:
        self.workers = workers
        self.context: Any = multiprocessing.get_context(start_method)
        self.lock = threading.Lock()
        self.closed = False
        self.over = threading.Event()  # set when the pool is closed, to end waits between starts
        self.has_started = False  # True if a process has started, so others can
        self._changed = threading.Condition(self.lock)
        self._jobs: deque[_Job] = deque()
        self._slots: list[_WorkerSlot] = []
        self._idle = 0

    def runner(self) -> _PoolRunner:
        return _PoolRunner(self)

    def missing(self, function: bytes) -> str | None:
        asked = _Asked()
        self.submit(_Job(function, None, asked))
        return asked.answer.result()

    def submit(self, job: _Job) -> None:
        """Queue a call for the next free process."""
        with self._changed:
            if self.closed:
                raise RuntimeError("the pool of processes is closed")
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._changed.notify()
            elif len(self._slots) < self.workers:
                slot = _WorkerSlot(self, len(self._slots))
                self._slots.append(slot)
                slot.thread.start()

    def next_for(self, slot: _WorkerSlot) -> _Job | None:
        """Wait for a call to make. Returns None when no more calls will come."""
        with self._changed:
            self._idle += 1
            while not self._jobs and not self.closed:
                self._changed.wait()
            self._idle -= 1
            if self.closed:
                return None
            job = self._jobs.popleft()
            job.slot = slot
            return job

    def cancel(self, job: _Job) -> None:
        """End a call without a result: at once if it waits; by killing its process if it runs."""
        with self.lock:
            if job.cancelled:
                return
            job.cancelled = True
            waits = job in self._jobs
            if waits:
                self._jobs.remove(job)
            elif job.slot is not None:
                job.slot.kill()
        if waits:
            job.call.done(False, CancelledError())

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self.over.set()
            waiting, slots = list(self._jobs), list(self._slots)
            self._jobs.clear()
            for slot in slots:
                slot.kill()
            self._changed.notify_all()
        for job in waiting:
            job.call.done(False, CancelledError())
        for slot in slots:
            if slot.thread is not threading.current_thread():
                slot.thread.join(_PATIENCE)


class _WorkerSlot:
    """One place in a pool: a thread, and the process to which it gives calls."""

    def __init__(self, pool: _Pool, number: int) -> None:
        self._pool = pool
        self._number = number
        self._process: Any = None
        self._connection: Connection | None = None
        self.thread = threading.Thread(target=self._serve, name=f"rxpipe-process-{number}", daemon=True)

    def kill(self) -> None:
        """Kill the process. The caller holds the pool's lock, so that no other process is hit."""
        if self._process is not None:
            self._process.kill()

    def _serve(self) -> None:
        while (job := self._pool.next_for(self)) is not None:
            ok, result, usage = self._reply_to(job)
            with self._pool.lock:
                job.slot = None  # from now on, cancelling the call does not kill the process
            if usage is not None:
                job.call.record(usage)
            job.call.done(ok, result)
            del job, result
        self._let_go()

    def _reply_to(self, job: _Job) -> Reply:
        """Make a call, and make it again if its process dies. Returns the reply."""
        while True:
            try:
                connection = self._connected()
            except ExecutorLost as error:
                return Reply(False, CancelledError() if self._unwanted(job) else error)
            if self._unwanted(job) or not job.call.begin():
                return Reply(False, CancelledError())
            code = self._exchange(connection, job)
            if isinstance(code, Reply):
                return code
            if self._unwanted(job):
                return Reply(False, CancelledError())
            if job.spared:
                return Reply(False, CallKilled(f"its process {exit_text(code)}, twice"))
            job.spared = True

    def _unwanted(self, job: _Job) -> bool:
        return job.cancelled or self._pool.closed

    def _exchange(self, connection: Connection, job: _Job) -> Reply | int | None:
        """Send a call and wait for its reply. If the process ends, returns its exit code instead."""
        request = pickle.dumps((job.function, job.value, job.call.remaining()))
        try:
            connection.send_bytes(request)
            wait([connection, self._process.sentinel])  # a process that it started may hold its end of the connection
            packed = connection.recv_bytes() if connection.poll() else None
        except (EOFError, OSError):
            packed = None
        if packed is None:
            return self._ended()
        return unpacked(packed) if job.value is not None else Reply(True, pickle.loads(packed))

    def _connected(self) -> Connection:
        """Returns the connection to the process. Starts a new process if none is alive.

        A process that is killed while it starts is started again, after a moment, and only a few times.

        Raises:
            ExecutorLost: No process starts.
        """
        if self._connection is not None and self._process.is_alive():
            return self._connection
        pauses = iter(_PAUSES)
        while True:
            try:
                return self._start()
            except _StartFailed as failed:
                pause = next(pauses, None) if failed.is_worth_another else None
                if pause is None or self._pool.over.wait(pause):
                    raise ExecutorLost(str(failed)) from failed.__cause__

    def _start(self) -> Connection:
        self._let_go()
        try:
            here: Connection
            here, there = self._pool.context.Pipe()
            process = self._pool.context.Process(
                target=serve, args=(there,), name=f"rxpipe-{self._number}", daemon=True
            )
            process.start()
        except Exception as error:  # the system has no process to spare, or the fork server was killed
            text = f"no process can be started: {describe(error)}"
            # In newer versions of Python, the fork server runs the script first, and ends if the script fails.
            has_ended = isinstance(error, (EOFError, ConnectionError)) and not self._pool.has_started
            raise _StartFailed(text + _GUARD if has_ended else text) from error
        there.close()
        with self._pool.lock:
            self._process, self._connection = process, here
            if self._pool.closed:
                process.kill()
        try:
            wait([here, process.sentinel])
            here.recv_bytes()
        except (EOFError, OSError):
            raise self._why_not_started(self._ended()) from None
        self._pool.has_started = True
        return here

    def _why_not_started(self, code: int | None) -> _StartFailed:
        text = f"a process that was started {exit_text(code)} before its first call"
        if self._pool.has_started or code is None or code < 0:
            return _StartFailed(text)
        return _StartFailed(text + _GUARD, is_worth_another=False)  # it ends in this way each time

    def _ended(self) -> int | None:
        """Wait for the end of a process that does not answer. Returns its exit code."""
        self._process.join(_PATIENCE)
        code: int | None = self._process.exitcode
        self._let_go()
        return code

    def _let_go(self) -> None:
        """Kill the process, if there is one, and free its resources."""
        with self._pool.lock:
            process, connection = self._process, self._connection
            self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is not None:
            process.kill()
            process.join(_PATIENCE)
            if process.exitcode is not None:
                process.close()


class _StartFailed(Exception):
    """A process ended before its first call.

    Attributes:
        is_worth_another: True if another start may succeed.
    """

    def __init__(self, text: str, *, is_worth_another: bool = True) -> None:
        super().__init__(text)
        self.is_worth_another = is_worth_another


class _PoolRunner:
    """Makes the calls of one stage."""

    queues = True
    cancels = True
    width = math.inf  # a stopped call leaves no thread behind

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._packed: tuple[Function, bytes] | None = None

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Submit a call."""
        if self._packed is None or self._packed[0] is not fn:
            self._packed = fn, pickle.dumps(fn)
        job = _Job(self._packed[1], pickle.dumps(value), call)
        self._pool.submit(job)
        return Disposable(lambda: self._pool.cancel(job))

    def close(self) -> None:
        """Nothing to free: the stage has cancelled its calls, and the pool may serve other stages."""


class _Asked:
    """Asks a question of a pool, in place of a stage's call."""

    def __init__(self) -> None:
        self.answer: Future[str | None] = Future()

    def begin(self) -> bool:
        """Returns True: the answer is wanted."""
        return True

    def done(self, ok: bool, result: Any) -> None:
        """The answer has come."""
        if ok:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(result)

    def remaining(self) -> float | None:
        """Returns None: there is no time limit."""
        return None

    def record(self, usage: Usage) -> None:
        """Does nothing: a question uses nothing."""

    def hold(self) -> None:
        """Does nothing: there is no timeout."""

    def retries(self, error: BaseException) -> bool:
        """Returns False: the question is asked once."""
        return False

    def note(self, value: object) -> None:
        """Does nothing: no listener hears of the end."""
