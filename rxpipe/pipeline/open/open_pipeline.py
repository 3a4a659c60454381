"""A pipeline that stays open: IDs are submitted one by one, and each gives its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Any, Generic, Self, overload

from reactivex import Observable
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.scheduler import VirtualTimeScheduler
from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.errors import PipelineClosed
from rxpipe.insight.snapshot import Snapshot
from rxpipe.operators.core.clock import running_loop
from rxpipe.operators.core.loops import BACKGROUND_LOOP
from rxpipe.operators.core.real_calls import real_calls_of
from rxpipe.pipeline.blocking import start_async
from rxpipe.pipeline.open.admission_queue import AdmissionQueue
from rxpipe.pipeline.open.events import Event, Events
from rxpipe.pipeline.open.health import Check, Health, health_of, patience
from rxpipe.pipeline.open.submission import Origin, Submission
from rxpipe.pipeline.outcome import Outcome, Report
from rxpipe.pipeline.plan import Plan, window_of
from rxpipe.pipeline.prepare import prepare
from rxpipe.pipeline.record import Record
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.start import start

A = TypeVar("A", contravariant=True, default=Any)
B = TypeVar("B", covariant=True, default=Any)

_LOOK = 0.2  # seconds between two chances for signal handlers
_VIRTUAL_LOOK = 0.005  # seconds for calls on threads, before virtual time goes on
_CLOSING = 10.0  # seconds that coroutine functions have to close their resources on their loop


class OpenPipeline(Generic[A, B]):
    """Takes IDs that are submitted one by one. Made by ``Pipeline.open``, and open inside ``async with`` or ``with``.

    **Closing.** When you leave the context, the pipeline takes no more IDs, and waits until all submitted ones have
    ended, for ``grace`` seconds at most. If the pipeline has failed, leaving the context raises its error. Ctrl-C or a
    cancellation during that wait cancels the remaining items; finished items are still written. If the task is
    cancelled inside the context, the remaining items are cancelled at once, unless there is a ``grace``. You can enter
    the context once only.

    **Threads.** You can use it from any thread, and from any event loop. A child process that was forked later cannot
    use it, since none of its threads runs there: it refuses IDs, and leaving the context does nothing.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        capacity: int | None,
        grace: float | None,
        stalled_after: float | None,
        scheduler: SchedulerBase | None = None,
    ) -> None:
        """See ``Pipeline.open``."""
        if plan.strategy == "staged":
            raise ValueError("strategy staged lets nothing out before all have come in: it cannot be open")
        for option, value in (("grace", grace), ("stalled_after", stalled_after)):
            if value is not None and not value >= 0:
                raise ValueError(f"{option} must be at least 0 seconds, not {value}")
        if capacity is not None and not (capacity >= 1 and capacity % 1 == 0):
            raise ValueError(f"capacity must be a whole number of at least 1, not {capacity}")
        self._plan = plan
        self._scheduler = scheduler
        self._grace = grace
        self._stalled_after = patience(plan.stages) if stalled_after is None else stalled_after
        self._events = Events()
        self._queue = AdmissionQueue(
            window_of(plan) if capacity is None else capacity,
            self._events.outcomes.publish,
            blocks=not isinstance(scheduler, VirtualTimeScheduler),
        )
        self._run: Run | None = None
        self._over: Future[Exception | None] = Future()  # the error or None, once all know the end
        self._entered = False
        self._checks: list[Check] = []
        self._stalled = False  # when its health was last asked for
        self._loop: asyncio.AbstractEventLoop | None = None  # the loop on which ``with`` opened it
        self._release: Callable[[], None] | None = None
        self._origin = Origin()

    @property
    def outcomes(self) -> Observable[Outcome[B]]:
        """A hot observable of the outcomes of items, from now on.

        A subscriber must not block. A subscriber that raises receives no more values.
        """
        self._origin.check()
        return self._events.outcomes.observable

    @property
    def events(self) -> Observable[Event]:
        """A hot observable of the events of items, from now on.

        A subscriber must not block. A subscriber that raises receives no more values.
        """
        self._origin.check()
        return self._events.events.observable

    @overload
    def submit(self, item: A | Record[A], /) -> Submission[B]: ...
    @overload
    def submit(self, item: int | str, value: A, /) -> Submission[B]: ...
    def submit(self, item: Any, *value: Any) -> Submission[B]:
        """Submit an ID or a record. The submission gives the outcome once the row is committed.

        ::

            outcome = await running.submit(17)
            outcome = await running.submit(17, {"text": "Why?"})  # the same as Record(17, {"text": "Why?"})

        - Where an event loop is running, this returns at once; awaiting the submission also waits for room. The same
          holds in callbacks, subscribers and functions of stages. In any other thread, this returns when there is room.
        - If the same ID was submitted before and has not ended, both submissions get the same outcome. A cancelled ID
          is an exception: it becomes a new item.
        - With a store, an ID that has ended before gives its earlier outcome.
        - An item that a stage expands ends as ``expanded`` when all of its children have ended.

        Args:
            item: The ID, or a ``Record``.
            *value: The argument of the first stage, instead of the ID.

        Raises:
            PipelineClosed: The pipeline takes no more IDs, is not open, or was opened by another process before a fork.
                If the pipeline has failed, ``__cause__`` is the reason.
            ConfigError: The ID is bad.
        """
        return self._open_queue.submit(Record(item, *value) if value else item, nowait=False)

    @overload
    def submit_nowait(self, item: A | Record[A], /) -> Submission[B]: ...
    @overload
    def submit_nowait(self, item: int | str, value: A, /) -> Submission[B]: ...
    def submit_nowait(self, item: Any, *value: Any) -> Submission[B]:
        """Submit an ID or a record as ``submit`` does, but only if there is room now.

        Raises:
            Overloaded: There is no room.
        """
        return self._open_queue.submit(Record(item, *value) if value else item, nowait=True)

    @property
    def _open_queue(self) -> AdmissionQueue:
        if self._run is None:
            raise PipelineClosed("the pipeline is not open")
        self._origin.check()
        return self._queue

    def health(self) -> Health:
        """Returns the pipeline's health: alive, draining, stalled or closed, and the reason."""
        if not self._origin.is_here:
            return Health(status="closed", reason=Origin.ELSEWHERE, held=0, waiting=0, unfinished=0)
        health = health_of(self._queue, self._run, self._stalled_after, self._checks)
        is_stalled = health.status == "stalled"
        if is_stalled and not self._stalled and self._run is not None:
            self._run.listeners.stalled(self._run, health.reason)
        self._stalled = is_stalled
        return health

    def add_check(self, check: Check) -> None:
        """Add a check of the pipeline's inputs. If it reports trouble, the health is ``stalled``.

        Args:
            check: Returns the trouble in a few words, or an empty text.
        """
        self._checks.append(check)

    def report(self) -> Report:
        """Returns the counts so far as a report. They add up once the pipeline is closed.

        Raises:
            RuntimeError: The pipeline has not been opened.
        """
        if self._run is None:
            raise RuntimeError("it has not been opened")
        return self._run.report()

    def snapshots(self, seconds: float = 1.0) -> Observable[Snapshot]:
        """Returns an observable of the numbers: now, then every ``seconds`` seconds, and once more at the end.

        See ``Run.snapshots``.

        Raises:
            RuntimeError: The pipeline has not been opened.
            ValueError: ``seconds`` is not above 0.
        """
        if self._run is None:
            raise RuntimeError("it has not been opened")
        return self._run.snapshots(seconds)

    def _enter(self) -> None:
        if self._entered:
            raise RuntimeError("it was opened before: pipeline.open() makes another one")
        self._entered = True
        self._origin = Origin()

    @property
    def _source(self) -> Observable[int | str | Record]:
        return self._queue.source(on_threads=self._scheduler is None and self._plan.scheduler != "asyncio")

    async def _open(self) -> Run:
        listeners = (self._events, self._queue)  # an outcome is published before awaiting submissions get it
        return await start_async(
            self._plan,
            self._source,
            scheduler=self._scheduler,
            listeners=listeners,
            admitted=self._queue.admitted,
            tell=self._queue.ended_elsewhere,
        )

    def _opened(self, run: Run) -> Self:
        self._run = run
        run.finished.add_done_callback(self._finished)
        return self

    def _finished(self, finished: Future[Report]) -> None:
        failure = None if finished.cancelled() else finished.exception()
        error = failure if isinstance(failure, Exception) else None
        self._queue.fail(error)
        self._events.end(error)
        self._over.set_result(error)

    def _close(self, run: Run, *, at_once: bool = False) -> DisposableBase | None:
        run.listeners.draining(run)
        self._queue.close()
        if at_once or self._grace == 0:
            run.abort()
            return None
        return None if self._grace is None else run.clock.call_later(self._grace, run.abort)

    def __repr__(self) -> str:
        health = health_of(self._queue, self._run, self._stalled_after, self._checks)
        return f"<OpenPipeline {health.status}: {health.unfinished} unfinished>"

    async def __aenter__(self) -> Self:
        """Open the pipeline on the running loop."""
        self._enter()
        return self._opened(await self._open())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the pipeline."""
        run = self._run
        assert run is not None  # it was entered
        if not self._origin.is_here:
            return
        is_cut_off = isinstance(error, (asyncio.CancelledError, GeneratorExit)) and self._grace is None
        timer = self._close(run, at_once=is_cut_off)
        over = asyncio.wrap_future(self._over)
        try:
            while not over.done() and self._pass_virtual_time():  # noqa: ASYNC110 - this is what lets it come
                await asyncio.sleep(_VIRTUAL_LOOK if self._waits_for_calls() else 0)
            failure = await asyncio.shield(over)
        except asyncio.CancelledError:
            run.abort()
            await asyncio.wait([over])  # a second cancellation ends only this wait
            raise
        finally:
            if timer is not None:
                timer.dispose()
            if self._plan.scheduler != "asyncio":
                await asyncio.to_thread(BACKGROUND_LOOP.wait_closed, _CLOSING)
        if failure is not None and error is None:
            raise failure

    def __enter__(self) -> Self:
        """Open the pipeline. With ``scheduler="asyncio"`` it runs on the background loop, which all pipelines share.

        Raises:
            RuntimeError: An event loop is running on this thread, and must not be blocked.
        """
        if running_loop() is not None:
            raise RuntimeError("an event loop is running here: open it by async with")
        if self._plan.scheduler != "asyncio":
            self._enter()
            with prepare(self._plan) as ports:
                ports.tell(self._queue.ended_elsewhere)
                run = start(
                    self._plan,
                    self._source,
                    ports=ports,
                    scheduler=self._scheduler,
                    listeners=(self._events, self._queue),
                    admitted=self._queue.admitted,
                )
            return self._opened(run)
        self._loop, self._release = BACKGROUND_LOOP.acquire()
        opening = asyncio.run_coroutine_threadsafe(self.__aenter__(), self._loop)
        try:
            return opening.result()
        except BaseException:  # an error of the opening, or Ctrl-C during it
            opening.add_done_callback(self._abandon)
            raise

    def _abandon(self, opening: Future[Self]) -> None:
        """Abort the run if it was opened, and then release the loop."""
        release, run = self._release, self._run
        assert release is not None  # it was acquired
        if run is None:
            release()
        else:
            run.finished.add_done_callback(lambda _: release())
            run.abort()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the pipeline."""
        run = self._run
        assert run is not None  # it was entered
        if not self._origin.is_here:
            return
        timer = self._close(run)
        try:
            failure = self._wait()  # another Ctrl-C ends this wait
        except BaseException:
            run.abort()
            self._wait()
            raise
        finally:
            if timer is not None:
                timer.dispose()
            if self._release is not None:
                self._release()
            BACKGROUND_LOOP.wait_closed(_CLOSING)
        if failure is not None and error is None:
            raise failure

    def _wait(self) -> Exception | None:
        patience = _VIRTUAL_LOOK if isinstance(self._scheduler, VirtualTimeScheduler) else _LOOK
        while not wait([self._over], timeout=patience).done:
            if self._loop is None:
                self._pass_virtual_time()
            elif patience == _VIRTUAL_LOOK:  # on the loop, so that no time passes before the loop has done its work
                asyncio.run_coroutine_threadsafe(self._pass_virtual_time_there(), self._loop).result()
        return self._over.result()

    async def _pass_virtual_time_there(self) -> None:
        self._pass_virtual_time()

    def _pass_virtual_time(self) -> bool:
        """Run all scheduled actions if time is virtual. Returns True if it is. No time passes while calls run."""
        if not isinstance(self._scheduler, VirtualTimeScheduler):
            return False
        if not self._waits_for_calls():
            with real_calls_of(self._scheduler).passing():
                VirtualTimeScheduler.start(self._scheduler)  # a test's own start() would run a test
        return True

    def _waits_for_calls(self) -> bool:
        return isinstance(self._scheduler, VirtualTimeScheduler) and real_calls_of(self._scheduler).are_running
