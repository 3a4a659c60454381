"""Runs coroutine functions: worker tasks on an event loop."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from threading import get_ident
from typing import Any

from reactivex.abc import DisposableBase

from ..core.clock import running_loop
from ..core.worker import Call, Function, Worker, call_context, discard


class LoopRunner:
    """Runs coroutine functions on an event loop, in worker tasks made as needed.

    A new call wakes one worker. A worker that takes a call wakes the next worker if more calls wait. So calls that do
    not wait run one after the other in one task, without task switches. Calls that wait run concurrently. A worker
    yields to the loop now and then, and ends with a call that was cancelled.
    """

    queues = False
    cancels = True
    width = math.inf

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, release: Callable[[], None]) -> None:
        """Use a loop.

        Args:
            name: The stage's name.
            loop: A running loop.
            release: Called by ``close``.
        """
        self._name = name
        self.loop = loop
        self._release = release
        self._context = call_context()
        self._jobs: deque[_LoopJob] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._coming = 0  # workers that will look for a job without being woken
        self._workers: set[asyncio.Task[None]] = set()  # the workers that have begun
        self._closed = False
        self._thread = get_ident() if running_loop() is loop else -1  # the loop's thread; below 0 if not known yet

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Give the call to a worker. From any thread."""
        job = _LoopJob(self.loop, fn, value, call)
        self._jobs.append(job)
        if get_ident() != self._thread:
            self.loop.call_soon_threadsafe(self._call_worker)
        elif not self._coming:
            self._call_worker()
        return job

    def close(self) -> None:
        """End the workers and release the loop. From any thread."""
        on_loop(self.loop, self._end_workers)

    def _end_workers(self) -> None:
        self._closed = True
        for idle in self._idle:
            if not idle.done():
                idle.set_result(None)
        for job in self._jobs:
            job.discard()
            job.call.done(False, asyncio.CancelledError())
        self._jobs.clear()
        self._release()

    def _call_worker(self) -> None:
        if self._coming or not self._jobs:
            return
        self._coming += 1
        while self._idle:
            if not (idle := self._idle.pop()).done():
                idle.set_result(None)
                return
        context = self._context.copy()
        task = self.loop.create_task(self._work(Worker(context)), name=f"rxpipe-{self._name}", context=context)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task in self._workers:
            self._workers.remove(task)
        else:  # the task was cancelled before it began
            self._coming -= 1
        self._call_worker()

    async def _work(self, worker: Worker) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._workers.add(task)
        self._thread = get_ident()
        unpaused = 0
        while not self._closed:
            if self._jobs:
                self._coming -= 1
                job = self._jobs.popleft()
                if self._jobs and not self._coming:
                    self._call_worker()
                worker.call = call = job.call
                job.task = task
                try:
                    if job.cancelled:
                        job.discard()
                        raise asyncio.CancelledError
                    ok, result = True, await job.fn(job.value)
                except BaseException as error:
                    if isinstance(error, GeneratorExit) and asyncio.current_task(self.loop) is not task:
                        raise  # not the function's error: the loop is gone, and so is every observer
                    ok, result = False, error
                job.task = None
                worker.call = None  # code downstream does not belong to the call
                self._coming += 1
                call.done(ok, result)
                del job.call, job.value, call, result  # an idle worker keeps no value alive
                unpaused += 1
                # A task that was cancelled is not used again, nor a task with a changed context.
                if task.cancelling() or not worker.is_clean():
                    break
            elif not await self._woken():
                return
            if unpaused == _CALLS_BETWEEN_PAUSES:
                unpaused = 0
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    break
        self._coming -= 1
        self._call_worker()

    async def _woken(self) -> bool:
        """Wait to be woken. Returns False if cancelled instead, as all tasks are when a loop shuts down."""
        self._coming -= 1
        idle = self.loop.create_future()
        self._idle.append(idle)
        try:
            await idle
        except asyncio.CancelledError:
            if not idle.cancelled():  # woken first, and then cancelled
                self._coming -= 1
            return False
        return True


_CALLS_BETWEEN_PAUSES = 64  # calls that do not wait take tens of microseconds; a pause costs about one


class _LoopJob(DisposableBase):
    """A call for a loop. Disposing cancels the call in the task that runs it, also before it has begun."""

    __slots__ = ("_loop", "call", "cancelled", "fn", "task", "value")

    def __init__(self, loop: asyncio.AbstractEventLoop, fn: Function, value: Any, call: Call) -> None:
        self._loop = loop
        self.fn = fn
        self.value = value
        self.call = call
        self.task: asyncio.Task[Any] | None = None
        self.cancelled = False

    def dispose(self) -> None:
        on_loop(self._loop, self._cancel)

    def _cancel(self) -> None:
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()

    def discard(self) -> None:
        """The call will not begin."""
        if self.fn is result_of:
            discard(self.value)


def on_loop(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    """Run ``action`` on a loop: at once if called on the loop, not at all if the loop is closed."""
    if asyncio._get_running_loop() is loop:
        action()
        return
    try:
        loop.call_soon_threadsafe(action)
    except RuntimeError:
        if not loop.is_closed():
            raise


async def result_of(awaitable: Awaitable[Any]) -> Any:
    """Await the awaitable that a plain function has returned; used as a call for a loop."""
    return await awaitable
