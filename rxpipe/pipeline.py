"""``Pipeline``: stages and a sink, run over IDs, with every item accounted for."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable
from reactivex.observer import Observer
from reactivex.scheduler import EventLoopScheduler
from reactivex.typing import StartableTarget

from rxpipe.driving import drive
from rxpipe.item import Item, ItemEnvelope, fail
from rxpipe.operators.clock import clock_for, running_loop
from rxpipe.operators.limiter import RateLimiter
from rxpipe.operators.retry import Retry
from rxpipe.operators.sources import from_async_iterable, from_iterable
from rxpipe.operators.stage import Place, settings_of
from rxpipe.operators.stage_settings import Settings
from rxpipe.operators.to_async import to_async_iterable
from rxpipe.outcome import Outcome, Report
from rxpipe.run import Run, Write
from rxpipe.strategies import Strategy, compose

Source = Iterable[Any] | AsyncIterable[Any] | Observable[Any]
Scheduler = Literal["threads", "asyncio"]


class Sink(Protocol):
    """Where outcomes go: see ``DatabaseSink``."""

    def open(self) -> Write:
        """Make ready; may block.

        Returns:
            An operator that keeps each outcome, and gives it back once it is safe, or failed if it cannot be kept.
            It closes what was opened when its sequence ends.

        Raises:
            SinkError: It cannot keep anything.
        """
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """A step that every item takes.

    Attributes:
        name: For reports and errors.
        call: A function of what the stage before returned (of the ID, for the first); plain, or a coroutine
            function. If it returns an Observable, the last value counts.
        concurrency: Calls that may run at once; the pipeline's by default.
        queue_size: Items that may wait before it.
        timeout: Seconds for one call.
        retry: Whether and when to call again after a failure.
        rate_limit: Taken by every call, retries included; may be shared between stages.
        executor: Where a plain function runs instead of worker threads: an executor or a reactivex scheduler.
        max_abandoned: See ``ops.stage``.
    """

    name: str
    call: Callable[[Any], Any]
    concurrency: int | None = None
    queue_size: int = 10
    timeout: float | None = None
    retry: Retry | None = None
    rate_limit: RateLimiter | None = None
    executor: Place | None = None
    max_abandoned: int | None = None


class Pipeline:
    """Stages that IDs go through, and the sink where they end.

    ::

        pipeline = Pipeline(
            Stage("generation", generate, concurrency=3, timeout=60),
            Stage("answering", answer, concurrency=8, timeout=120),
            sink=DatabaseSink("sqlite:///questions.db"),
        )
        report = pipeline.run(range(1000))

    Every ID taken ends as exactly one ``Outcome``: ``written`` once the sink has it safe (without a sink: once the
    last stage has returned), ``failed`` with the error, or ``cancelled``. A failed item skips the stages that are
    left, and goes into the sink too.

    A pipeline holds no state of its runs: it can be run again, and several times at once.
    """

    def __init__(
        self,
        *stages: Stage,
        sink: Sink | None = None,
        strategy: Strategy = "per_stage",
        scheduler: Scheduler = "threads",
        concurrency: int = 3,
    ) -> None:
        """Compose a pipeline.

        Args:
            stages: In order; at least one, and each name once.
            sink: Where outcomes go.
            strategy: ``per_stage``, ``per_item`` or ``staged``; see ``rxpipe/strategies.py``.
            scheduler: ``threads``: outcomes come on worker threads, coroutine functions run on a loop of their own.
                ``asyncio``: everything comes on one event loop, coroutine functions run there, plain ones on
                worker threads.
            concurrency: Calls at once of stages that do not say; with ``per_item``, items at once.

        Raises:
            ValueError: There is no stage, a name comes twice, or a number is out of range.
        """
        names = [stage.name for stage in stages]
        if not stages:
            raise ValueError("a pipeline needs at least one stage")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stage names must differ, but there are two called {', '.join(twice)}")
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        for option, value in (("strategy", strategy), ("scheduler", scheduler)):
            allowed = get_args(Strategy if option == "strategy" else Scheduler)
            if value not in allowed:
                raise ValueError(f"{option} must be one of {', '.join(allowed)}, not {value!r}")
        self.stages = stages
        self.sink = sink
        self.strategy: Strategy = strategy
        self.scheduler: Scheduler = scheduler
        self.concurrency = concurrency
        self._settings()  # refuse what is out of range now, not when it is run

    @staticmethod
    def from_yaml(path: str | os.PathLike[str]) -> Pipeline:
        """The pipeline that a config describes; see the guide for its keys.

        Raises:
            ConfigError: The config cannot be used; names file, key, value and what is allowed.
        """
        from rxpipe.config import load_config  # not above: pipelines in code need no pydantic
        from rxpipe.configured import pipeline_of

        return pipeline_of(load_config(path))

    def run(self, source: Source) -> Report:
        """Run over all IDs of a source, and wait for it.

        On the first Ctrl-C no more IDs are taken, and those on their way finish; on the second they are cancelled.
        Then ``KeyboardInterrupt`` is raised.

        Args:
            source: IDs, ints or strings: an iterable, an async iterable or an Observable. An iterator or a
                generator may block: it is iterated on a thread of its own.

        Raises:
            SinkError: The sink cannot be opened, or stayed away for too long.
            StageStalled: All slots of a stage are taken by calls that do not return.
            Exception: What the source raised, when all that were taken have ended.
        """
        return drive(self, source)

    async def run_async(self, source: Source) -> Report:
        """The same as ``run``, awaited; with ``scheduler="asyncio"`` on the running loop.

        Cancelling it cancels the calls; what is finished is still written before it ends.
        """
        write = await asyncio.to_thread(self.open_sink)
        if self.scheduler == "asyncio":
            run = self.start(source, write=write)
        else:  # off the loop, so that coroutine functions get a loop of their own
            run = await asyncio.to_thread(self.start, source, write=write)
        finished = asyncio.wrap_future(run.finished)
        try:
            return await asyncio.shield(finished)
        except asyncio.CancelledError:
            run.abort()
            await asyncio.wait([finished])
            raise

    def outcomes(self, source: Source) -> Observable[Outcome[Any]]:
        """The outcomes, as they come: a cold observable, each subscription a run of its own.

        Subscribed to on an event loop, everything is notified there. Disposing a subscription cancels its run:
        outcomes that were not notified may not have been written.
        """

        def subscribe(observer: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            return self.start(source, observer, scheduler=scheduler).subscription

        return reactivex.create(subscribe)

    def stream(self, source: Source, *, max_items: int = 10) -> AsyncGenerator[Outcome[Any], None]:
        """The outcomes, for ``async for`` on the running loop; the pipeline waits while ``max_items`` are not taken.

        Leaving the loop early cancels the run when the generator is closed.
        """
        return to_async_iterable(self.outcomes(source), max_items)

    def start(
        self,
        source: Source,
        observer: ObserverBase[Outcome[Any]] | None = None,
        *,
        write: Write | None = None,
        scheduler: SchedulerBase | None = None,
    ) -> Run:
        """Start a run and return it: live counts, ``stop()`` and ``abort()``, and a future of its report.

        Args:
            source: IDs, as for ``run``.
            observer: Notified of each outcome; it slows the run down while it does not return.
            write: What ``open_sink`` gave, where that was called before so as not to block here.
            scheduler: Whose time the run goes by: a virtual one, in tests.

        Raises:
            SinkError: The sink cannot be opened.
            RuntimeError: The scheduler is ``asyncio``, and no event loop is running here.
        """
        if self.scheduler == "asyncio" and running_loop() is None:
            raise RuntimeError('a pipeline with scheduler="asyncio" starts on a running event loop; run() makes one')
        settings = self._settings()
        stages = compose(self.strategy, [(s, stage.executor) for s, stage in zip(settings, self.stages, strict=True)])
        at_once = self.concurrency if self.strategy == "per_item" else math.inf
        run = Run([s.stats for s in settings], clock_for(None, scheduler), at_once)
        run.start(_observable(source), stages, write or self.open_sink(), observer or Observer(), scheduler)
        return run

    def open_sink(self) -> Write:
        """Make the sink ready; may block.

        Raises:
            SinkError: It cannot be opened.
        """
        return _pass_on if self.sink is None else self.sink.open()

    def _settings(self) -> list[Settings[Item, Item]]:
        return [self._settings_of(stage) for stage in self.stages]

    def _settings_of(self, stage: Stage) -> Settings[Item, Item]:
        per_item = self.strategy == "per_item"
        concurrency = self.concurrency if per_item else stage.concurrency or self.concurrency
        return settings_of(
            stage.call,
            name=stage.name,
            concurrency=concurrency,
            queue_size=0 if per_item else stage.queue_size,
            timeout=stage.timeout,
            retry=stage.retry,
            rate_limit=stage.rate_limit,
            recover=fail,
            max_abandoned=stage.max_abandoned,
            envelope=ItemEnvelope(),
        )


def _observable(source: Source) -> Observable[Any]:
    if isinstance(source, Observable):
        return source
    if isinstance(source, AsyncIterable):
        return from_async_iterable(source)
    if isinstance(source, Collection):  # it has all its items: taking one does not block
        return from_iterable(source)

    def subscribe(observer: ObserverBase[Any], scheduler: SchedulerBase | None = None) -> DisposableBase:
        thread = EventLoopScheduler(thread_factory=_daemon)
        return CompositeDisposable(from_iterable(source, scheduler=thread).subscribe(observer), thread)

    return reactivex.create(subscribe)


def _pass_on(outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
    return outcomes


def _daemon(target: StartableTarget) -> threading.Thread:
    return threading.Thread(target=target, name="rxpipe-source", daemon=True)
