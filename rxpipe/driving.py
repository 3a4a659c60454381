"""Running a pipeline to its end from ordinary code, with Ctrl-C in steps."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

from rxpipe.operators.clock import running_loop
from rxpipe.outcome import Report
from rxpipe.run import Run

if TYPE_CHECKING:
    from rxpipe.pipeline import Pipeline, Source


def drive(
    pipeline: Pipeline,
    source: Source,
    *,
    started: Callable[[Run], object] | None = None,
    signals: Iterable[signal.Signals] = (signal.SIGINT,),
) -> Report:
    """Run a pipeline over all IDs of a source, and wait for it.

    The first signal lets the items on their way finish, the second cancels them, the third gives up waiting.

    Args:
        pipeline: What to run.
        source: IDs, as for ``Pipeline.run``.
        started: Called with the run once it has started.
        signals: Which to take notice of; one that has a handler of somebody else's keeps it.

    Raises:
        KeyboardInterrupt: A signal came; the run is over.
        RuntimeError: The pipeline's scheduler is ``asyncio``, and this thread is running an event loop.
        Exception: What the run failed with.
    """
    if pipeline.scheduler == "asyncio":
        if running_loop() is not None:
            raise RuntimeError("an event loop is running here: await run_async() instead of calling run()")
        run, interrupted = asyncio.run(_on_loop(pipeline, source, started, signals))
    else:
        run, interrupted = _on_this_thread(pipeline, source, started, signals)
    if interrupted:
        raise KeyboardInterrupt
    return run.finished.result()


def _on_this_thread(
    pipeline: Pipeline, source: Source, started: Callable[[Run], object] | None, signals: Iterable[signal.Signals]
) -> tuple[Run, bool]:
    write = pipeline.open_sink()
    actions: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
    with _Interrupts(signals, actions.put) as interrupts:
        interrupts.run = run = pipeline.start(source, write=write)
        run.finished.add_done_callback(lambda _: actions.put(None))
        if started is not None:
            started(run)
        while (action := actions.get()) is not None:
            action()
    return run, interrupts.count > 0


async def _on_loop(
    pipeline: Pipeline, source: Source, started: Callable[[Run], object] | None, signals: Iterable[signal.Signals]
) -> tuple[Run, bool]:
    write = pipeline.open_sink()
    loop = asyncio.get_running_loop()
    with _Interrupts(signals, loop.call_soon_threadsafe) as interrupts:
        interrupts.run = run = pipeline.start(source, write=write)
        if started is not None:
            started(run)
        await asyncio.wait([asyncio.wrap_future(run.finished)])
    return run, interrupts.count > 0


class _Interrupts:
    """Takes notice of signals while a run lasts.

    A handler runs between any two instructions of the main thread, which may hold a lock: so it only leaves an
    action for the thread that waits.
    """

    def __init__(self, signals: Iterable[signal.Signals], leave: Callable[[Callable[[], None]], object]) -> None:
        self.run: Run | None = None
        self.count = 0
        self._signals = tuple(signals)
        self._leave = leave
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                handler = signal.getsignal(number)
                if handler in (signal.default_int_handler, signal.SIG_DFL):
                    self._before[number] = handler
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        if self.count > 2:
            raise KeyboardInterrupt
        self._leave(self._stop if self.count == 1 else self._abort)

    def _stop(self) -> None:
        if self.run is not None:
            self.run.stop()

    def _abort(self) -> None:
        if self.run is not None:
            self.run.abort()
