"""Runs a pipeline to its end from ordinary code. Ctrl-C stops the run in steps."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from queue import Empty, SimpleQueue
from typing import Any, Self, TypeVar

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.scheduler import CurrentThreadScheduler

from rxpipe.operators.core.clock import needed_loop, running_loop
from rxpipe.operators.core.loops import BACKGROUND_LOOP, run_on_loop
from rxpipe.operators.core.threads import taken_from
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.outcome import Outcome, Report
from rxpipe.pipeline.plan import Plan
from rxpipe.pipeline.ports import RunPorts, Tell
from rxpipe.pipeline.prepare import opens_nothing, prepare
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.source import Source, as_observable
from rxpipe.pipeline.start import start as start_run

_CLOSING = 10.0  # seconds that coroutine functions have to close their resources on their loop
_PATIENCE = 0.2  # seconds; a signal just before a thread begins to wait does not wake the thread

T = TypeVar("T")
Started = Callable[[Run], object]
Interrupted = Callable[[signal.Signals, int], object]


def run_blocking(
    plan: Plan,
    source: Source,
    *,
    observer: ObserverBase[Outcome[Any]] | None = None,
    started: Started | None = None,
    interrupted: Interrupted | None = None,
    signals: Iterable[signal.Signals] = (signal.SIGINT,),
    grace: float | None = None,
) -> Report:
    """Run a pipeline over all IDs of a source, and wait for the end.

    The first signal lets items on their way finish. The second signal cancels them. The third gives up waiting.

    Args:
        plan: The pipeline.
        source: IDs, as for ``Pipeline.run``.
        observer: Receives each outcome. The run waits while the observer handles an outcome.
        started: Called with the run after its start. If this raises, the run ends.
        interrupted: Called on the waiting thread at the first and the second signal, with the signal and the number 1
            or 2.
        grace: Seconds after the first signal until items on their way are cancelled, as by a second signal.
        signals: The signals to handle. A signal with a handler of somebody else keeps that handler.

    Raises:
        KeyboardInterrupt: A signal came, and the run is over. If the run failed, ``__cause__`` is its error.
        RuntimeError: This thread is running an event loop, which must not be blocked.
        Exception: The error of the run.
    """
    if running_loop() is not None:
        raise RuntimeError("an event loop is running here: await run_async() instead of calling run()")
    ids = as_observable(source)

    with prepare(plan) as ports, Interrupts(signals, interrupted, grace) as interrupts:

        def start() -> Run:
            return start_run(plan, ids, observer, ports=ports)

        def start_and_wait() -> Run:
            if plan.scheduler == "asyncio":
                return run_on_loop(_on_loop(start, started, interrupts), _CLOSING)
            return _on_this_thread(start, started, interrupts)

        if CurrentThreadScheduler.singleton().schedule_required():
            run = start_and_wait()
        else:  # the trampoline on this thread would keep the source waiting until this function returns
            run = _on_another_thread(start_and_wait)
    if interrupts.count:
        raise KeyboardInterrupt from (None if run.finished.cancelled() else run.finished.exception())
    return run.finished.result()


def _on_another_thread(make: Callable[[], T]) -> T:
    made: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            made.set_result(context.run(make))
        except BaseException as error:  # noqa: BLE001 - raised to whoever waits
            made.set_exception(error)

    threading.Thread(target=run, name="rxpipe-run", daemon=True).start()
    while not made.done():
        wait([made], timeout=_PATIENCE)  # signal handlers run now
    return made.result()


def _on_this_thread(start: Callable[[], Run], started: Started | None, interrupts: Interrupts) -> Run:
    actions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
    run = start()
    run.finished.add_done_callback(lambda _: actions.put(None))
    interrupts.attach(run, actions.put)
    _tell(started, run)
    while True:
        interrupts.check()
        try:
            action = actions.get(timeout=_PATIENCE)
        except Empty:
            continue  # signal handlers run now
        if action is None:
            BACKGROUND_LOOP.wait_closed(_CLOSING)
            return run
        action()


async def _on_loop(start: Callable[[], Run], started: Started | None, interrupts: Interrupts) -> Run:
    run = start()
    interrupts.attach(run, asyncio.get_running_loop().call_soon_threadsafe)
    _tell(started, run)
    finished = asyncio.wrap_future(run.finished)
    while not finished.done():
        interrupts.check()
        await asyncio.wait([finished], timeout=_PATIENCE)
    if not finished.cancelled():
        finished.exception()  # else asyncio logs that the exception was never retrieved
    return run


def _tell(started: Started | None, run: Run) -> None:
    if started is not None:
        try:
            started(run)
        except BaseException:
            run.subscription.dispose()
            raise


class Interrupts:
    """Handles signals during a run.

    A signal handler can interrupt the main thread anywhere, even while it holds a lock. So the handler only counts the
    signal, and queues an action for the thread that waits. The third signal raises ``KeyboardInterrupt`` at once.

    Attributes:
        count: Number of signals so far.
    """

    def __init__(self, signals: Iterable[signal.Signals], interrupted: Interrupted | None, grace: float | None) -> None:
        self.count = 0
        self._signals = tuple(signals)
        self._interrupted = interrupted
        self._grace = grace
        self._deadline: DisposableBase | None = None
        self._came: list[signal.Signals] = []
        self._told = 0
        self._run: Run | None = None
        self._leave: Callable[[Callable[[], None]], object] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def attach(self, run: Run, leave: Callable[[Callable[[], None]], object]) -> None:
        """Interrupt this run from now on. ``leave`` queues an action for the thread that waits for the run."""
        self._run = run
        self._leave = leave
        if self.count:
            self._interrupt()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                handler = signal.getsignal(number)
                if handler in (signal.default_int_handler, signal.SIG_DFL):
                    self._before[number] = handler
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._deadline is not None:
            self._deadline.dispose()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise if a third signal came. The handler raised, too, but other code may have caught that.

        Raises:
            KeyboardInterrupt: A third signal came.
        """
        if self.count > 2:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        self._came.append(signal.Signals(number))
        self.check()
        if self._leave is not None:
            self._leave(self._interrupt)

    def _interrupt(self) -> None:
        if self._run is None:
            return
        if self.count == 1:
            self._run.stop()
            if self._grace is not None:
                self._deadline = self._run.clock.call_later(self._grace, self._run.abort)
        try:
            while self._interrupted is not None and self._told < min(self.count, 2):
                self._told += 1
                self._interrupted(self._came[self._told - 1], self._told)
        finally:
            if self.count > 1:
                self._run.abort()


async def start_async(
    plan: Plan,
    source: Source,
    *,
    scheduler: SchedulerBase | None = None,
    listeners: Sequence[Listener] = (),
    admitted: Callable[[Item], object] | None = None,
    tell: Tell | None = None,
) -> Run:
    """Start a run from an event loop. Opening the sink does not block the loop.

    Args:
        plan: The pipeline.
        source: IDs, as for ``Pipeline.run``.
        scheduler: The scheduler for the time of the run.
        listeners: Receive the events of items and calls.
        admitted: Called with each item that is taken, before all listeners.
        tell: Receives items that ended earlier or belong to another worker.
    """
    with await prepare_async(plan) as ports:
        if tell is not None:
            ports.tell(tell)

        def start() -> Run:
            return start_run(plan, source, ports=ports, scheduler=scheduler, listeners=listeners, admitted=admitted)

        if plan.scheduler == "asyncio":
            return start()
        # Off the loop, so that coroutine functions get a loop of their own.
        return await in_thread(start, undo=_give_up)


async def prepare_async(plan: Plan) -> RunPorts:
    """Prepare a run as ``prepare`` does. Slow openings happen in a thread."""
    needed_loop()
    if opens_nothing(plan):
        return prepare(plan)
    return await in_thread(lambda: prepare(plan), undo=_close)


def _close(ports: RunPorts) -> None:
    with ports:
        pass


def _give_up(run: Run) -> None:
    run.abort()
    wait([run.finished])


async def in_thread(make: Callable[[], T], *, undo: Callable[[T], object]) -> T:
    """Make an object in a thread. If this task is cancelled, call ``undo`` with the object before the task ends."""
    needed_loop()
    decision = [None]  # the first of two takes it: the thread, to hand over; or the cancelled task, to give up

    def make_or_undo() -> T:
        result = make()
        if not taken_from(decision):
            undo(result)
        return result

    made = asyncio.ensure_future(asyncio.to_thread(make_or_undo))
    try:
        return await asyncio.shield(made)
    except asyncio.CancelledError:
        undone = made if taken_from(decision) else asyncio.ensure_future(_undone(made, undo))
        await asyncio.wait([undone])  # a second cancellation ends only this wait
        if not undone.cancelled():
            undone.exception()  # else asyncio logs that the exception was never retrieved
        raise


async def _undone(made: Awaitable[T], undo: Callable[[T], object]) -> None:
    await asyncio.to_thread(undo, await made)
