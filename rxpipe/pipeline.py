"""``Pipeline``: stages and a sink, run over IDs, with every item accounted for."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxpipe.budget import Budget
from rxpipe.driving import drive, prepare_async, start_async
from rxpipe.errors import ItemCancelled, StopRun
from rxpipe.executors.opening import with_executors
from rxpipe.item import Item, ItemEnvelope, Journal
from rxpipe.listener import Listener
from rxpipe.operators.clock import clock_for, running_loop
from rxpipe.operators.running_call import Usage
from rxpipe.operators.stage import Place, settings_of
from rxpipe.operators.stage_settings import Settings
from rxpipe.operators.to_async import to_async_iterable
from rxpipe.outcome import Outcome, Report
from rxpipe.run import Run, Write
from rxpipe.source import Source as Source
from rxpipe.source import as_observable, on_running_loop
from rxpipe.stage import Stage
from rxpipe.strategies import Strategy, compose

if TYPE_CHECKING:
    from rxpipe.open_pipeline import OpenPipeline
    from rxpipe.store import RunStore

Scheduler = Literal["threads", "asyncio"]
Tell = Callable[[Outcome[Any]], None]

_AHEAD = 64  # claimed items that wait for the stages, at most: one by one they cost two switches of threads each


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where a run begins and ends, made ready.

    Attributes:
        write: Keeps outcomes.
        take: Makes of IDs what is taken through the stages.
        ahead: How many IDs may be asked for before there is room for them.
        journal: Keeps what happens in between.
        number: The run's number in its store.
        before: How many of its items had ended before, as written and as failed.
        usage_before: What its calls had used before.
        mean_costs: What a call cost until then, on average, by the stage's name; of those that cost anything.
        is_finished: Whether nothing of it is left to do, asked when it is over.
        tell: Has whoever submits IDs told of those that had ended before, or are in other hands.
        place: Where calls run, given what a stage has for ``executor``.
    """

    write: Write
    take: Callable[[Observable[Any]], Observable[Any]] = lambda ids: ids
    ahead: int = 1
    journal: Journal | None = None
    number: int | None = None
    before: tuple[int, int] = (0, 0)
    usage_before: Usage = field(default_factory=Usage)
    mean_costs: Mapping[str, float] = field(default_factory=dict[str, float])
    is_finished: Callable[[], bool] = lambda: True
    tell: Callable[[Tell], None] = lambda tell: None
    place: Callable[[Place | None], Place | None] = lambda place: place


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
        store: RunStore | None = None,
        max_cost: float | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        """Compose a pipeline.

        Args:
            stages: In order; at least one, and each name once.
            sink: Where outcomes go.
            strategy: ``per_stage``, ``per_item`` or ``staged``; see ``rxpipe/strategies.py``.
            scheduler: ``threads``: outcomes come on rxpipe's threads, coroutine functions run on a loop of their own.
                ``asyncio``: everything comes on one event loop, coroutine functions run there, plain ones on
                worker threads.
            concurrency: Calls at once of stages that do not say; with ``per_item``, items at once.
            store: Keeps what each stage has returned, so that a later run goes on where this one was left.
            max_cost: What the calls of a run may cost, by what they tell ``rxpipe.record_usage``; with a store, those
                of earlier processes of the run included. No call is made that would probably exceed it; then the run
                stops, and fails with ``BudgetSpent``.
            listeners: Told of all items and calls, for traces and the like.

        Raises:
            ValueError: There is no stage, a name comes twice, a number is out of range, or there is a store and the
                strategy is ``staged``, which holds all results to the end.
            TypeError: What is not a ``Stage``, a coroutine function with an executor, or a store and a sink that is no
                ``DatabaseSink``.
            ConfigError: The store is not in the sink's database.
        """
        given: list[tuple[Any, type]] = [*((one, Stage) for one in stages), *((one, Listener) for one in listeners)]
        for one, kind in given:
            if not isinstance(one, kind):
                raise TypeError(f"a pipeline is made of {kind.__name__}, not {one!r}")
        if not stages:
            raise ValueError("a pipeline needs at least one stage")
        names = [stage.name for stage in stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stage names must differ, but there are two called {', '.join(twice)}")
        if not (concurrency >= 1 and concurrency % 1 == 0):
            raise ValueError(f"concurrency must be a whole number of at least 1, not {concurrency}")
        for option, value in (("strategy", strategy), ("scheduler", scheduler)):
            allowed = get_args(Strategy if option == "strategy" else Scheduler)
            if value not in allowed:
                raise ValueError(f"{option} must be one of {', '.join(allowed)}, not {value!r}")
        if max_cost is not None and not max_cost > 0:
            raise ValueError(f"max_cost must be above 0, not {max_cost}")
        if store is not None and strategy == "staged":
            raise ValueError("strategy staged holds all results until the end: it cannot have a store")
        if store is not None:
            store.database_with(sink)  # refuse now what open() would
        self.stages = stages
        self.sink = sink
        self.store = store
        self.strategy: Strategy = strategy
        self.scheduler: Scheduler = scheduler
        self.concurrency = concurrency
        self.max_cost = max_cost
        self.listeners = tuple(listeners)
        compose(strategy, self._placed())  # refuse what cannot be now, not when it is run

    @staticmethod
    def from_yaml(path: str | os.PathLike[str]) -> Pipeline:
        """The pipeline that a config describes; see the guide for its keys.

        Raises:
            ConfigError: The config cannot be used; names file, key, value and what is allowed.
        """
        from rxpipe.config import load_config  # not above: pipelines in code need no pydantic
        from rxpipe.config.build import pipeline_of

        return pipeline_of(load_config(path))

    def run(self, source: Source) -> Report:
        """Run over all IDs of a source, and wait for it.

        On the first Ctrl-C no more IDs are taken, and those on their way finish; on the second they are cancelled.
        Then ``KeyboardInterrupt`` is raised.

        Args:
            source: IDs, ints or strings: an iterable, an async iterable or an Observable. An iterator or a
                generator may block: it is iterated on a thread of its own.

        Raises:
            ConfigError: The source gives what is no ID.
            SinkError: The sink cannot be opened, or stayed away for too long.
            StageStalled: All slots of a stage are taken by calls that do not return.
            StopRun: A stage's function raised it; ``BudgetSpent`` if ``max_cost`` would have been exceeded.
            Exception: What the source raised, when all that were taken have ended.
            KeyboardInterrupt: Ctrl-C came.
            RuntimeError: An event loop is running on this thread, which must not be blocked.
        """
        return drive(self, source)

    async def run_async(self, source: Source) -> Report:
        """The same as ``run``, awaited; with ``scheduler="asyncio"`` on the running loop.

        An async iterable is iterated on the running loop in any case. Cancelling it cancels the calls; what is
        finished is still written before it ends. Raises what ``run`` raises, but for interrupts.
        """
        ids = on_running_loop(source) if isinstance(source, AsyncIterable) else as_observable(source)
        run = await start_async(self, ids)
        finished = asyncio.wrap_future(run.finished)
        try:
            return await asyncio.shield(finished)
        except asyncio.CancelledError:
            run.abort()
            await asyncio.wait([finished])
            if not finished.cancelled():
                finished.exception()  # else asyncio logs that nobody asked for it
            raise

    def open(
        self, *, capacity: int | None = None, grace: float | None = None, stalled_after: float | None = None
    ) -> OpenPipeline:
        """Open it for IDs that are submitted one by one, as requests and messages come.

        ::

            async with pipeline.open() as running:  # also ``with``, in threads
                outcome = await running.submit(question_id)

        Args:
            capacity: IDs that it holds at most until they leave the stages for the sink; by default as many as the
                stages have slots and places in their queues.
            grace: Seconds that what is on its way has to finish when it is closed; then it is cancelled. By default
                it takes as long as it takes.
            stalled_after: Seconds without any progress after which ``health()`` calls it stalled; by default a
                minute, or half as much again as the longest timeout of a stage, or delay between attempts, if that is
                longer.

        Raises:
            ValueError: A number is out of range, or the strategy is ``staged``, which lets nothing out to the end.
        """
        from rxpipe.open_pipeline import OpenPipeline  # not above: most pipelines are not kept open

        return OpenPipeline(self, capacity=capacity, grace=grace, stalled_after=stalled_after)

    def outcomes(self, source: Source) -> Observable[Outcome[Any]]:
        """The outcomes, as they come: a cold observable, each subscription a run of its own.

        Subscribing opens the sink, which may block for a moment. Done on an event loop, everything is notified there.
        Disposing a subscription cancels its run:
        outcomes that were not notified may not have been written.
        """
        return self._outcomes(source)

    def _outcomes(self, source: Source, ends: Ends | None = None) -> Observable[Outcome[Any]]:
        def subscribe(observer: ObserverBase[Outcome[Any]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            return self.start(source, observer, ends=ends, scheduler=scheduler).subscription

        return reactivex.create(subscribe)

    async def stream(self, source: Source, *, max_items: int = 10) -> AsyncGenerator[Outcome[Any], None]:
        """The outcomes, for ``async for`` on the running loop; the pipeline waits while ``max_items`` are not taken.

        Leaving the loop early cancels the run when the generator is closed; use ``contextlib.aclosing`` to have that
        happen at once.

        Raises:
            ValueError: ``max_items`` is below 1.
            Exception: What ``run`` raises, after the outcomes that there were.
        """
        if not max_items >= 1:
            raise ValueError(f"max_items must be at least 1, not {max_items}")
        ids = as_observable(source)
        ends = await prepare_async(self)
        async with aclosing(to_async_iterable(self._outcomes(ids, ends), max_items)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    def start(
        self,
        source: Source,
        observer: ObserverBase[Outcome[Any]] | None = None,
        *,
        ends: Ends | None = None,
        scheduler: SchedulerBase | None = None,
        listeners: Sequence[Listener] = (),
    ) -> Run:
        """Start a run and return it: live counts, ``stop()`` and ``abort()``, and a future of its report.

        Args:
            source: IDs, as for ``run``.
            observer: Notified of each outcome; it slows the run down while it does not return.
            ends: What ``prepare`` gave, where that was called before so as not to block here.
            scheduler: Whose time the run goes by: a virtual one, in tests.
            listeners: Told of its items and calls, beside the pipeline's own.

        Raises:
            SinkError: The sink cannot be opened.
            RuntimeError: The scheduler is ``asyncio``, and no event loop is running here.
        """
        if self.scheduler == "asyncio" and running_loop() is None:
            raise RuntimeError('a pipeline with scheduler="asyncio" starts on a running event loop; run() makes one')
        ids = as_observable(source)
        ends = ends or self.prepare()
        listeners = (*self.listeners, *listeners)
        budget = None if self.max_cost is None else Budget(self.max_cost, ends.usage_before.cost, ends.mean_costs)

        def cut_off(place: int, error: StopRun | ItemCancelled) -> None:
            run.cut_off(place, error)

        placed = self._placed(journal=ends.journal, budget=budget, cut_off=cut_off, listeners=listeners)
        per_item = self.strategy == "per_item"
        stats = [settings.stats for settings, _ in placed]
        if budget is not None:
            budget.watch(stats)
        run = Run(
            stats,
            clock_for(None, scheduler),
            limit=self.concurrency if per_item else math.inf,
            staged=self.strategy == "staged",
            number=ends.number,
            before=ends.before,
            usage_before=ends.usage_before,
            is_finished=ends.is_finished,
            listeners=listeners,
        )
        stages = compose(self.strategy, [(settings, ends.place(place)) for settings, place in placed])
        run.start(ends.take(ids), stages, ends.write, observer, scheduler, ahead=ends.ahead)
        return run

    @with_executors
    def prepare(self) -> Ends:
        """Make the executors, the sink and the store ready; may block.

        Raises:
            SinkError: One of them cannot be opened; ``StoreError`` and ``StagesChanged`` are among these.
            ConfigError: The store cannot be in such a database, or an executor not be opened.
        """
        from rxpipe.store.signature import StageSignature  # not above: most pipelines have no store

        if self.store is None:
            return Ends(write=(lambda outcomes: outcomes) if self.sink is None else self.sink.open())
        window = self.window
        stages = [StageSignature.of(stage.name, stage.call, stage.version) for stage in self.stages]
        session = self.store.open(stages, self.sink, window=window)
        before = session.before
        return Ends(
            write=session.write,
            take=session.take,
            ahead=max(1, int(min(_AHEAD, window / 4))),
            journal=session,
            number=session.run_id,
            before=(before.counts.get("done", 0), before.counts.get("dead", 0)),
            usage_before=before.usage,
            mean_costs=before.mean_costs,
            is_finished=lambda: session.is_finished,
            tell=session.tell,
        )

    @property
    def window(self) -> float:
        """How many items the stages hold."""
        if self.strategy == "per_item":
            return self.concurrency
        return sum(settings.concurrency + settings.queue_size for settings, _ in self._placed())

    def _placed(self, **options: Any) -> list[tuple[Settings[Item, Item], Place | None]]:
        """Each stage's settings, and where its calls run; with options of ``ItemEnvelope``."""
        placed: list[tuple[Settings[Item, Item], Place | None]] = []
        for place, stage in enumerate(self.stages):
            last = stage is self.stages[-1]
            envelope = ItemEnvelope(stage.name, place, last=last, **options)
            call = stage.call
            for listener in options.get("listeners", ()):
                call = listener.wrapped(stage, call)
            placed.append((self._settings_of(stage, call, envelope), stage.executor))
        return placed

    def _settings_of(self, stage: Stage, call: Callable[[Any], Any], envelope: ItemEnvelope) -> Settings[Item, Item]:
        per_item = self.strategy == "per_item"
        given = None if per_item else stage.concurrency
        return settings_of(
            call,
            name=stage.name,
            concurrency=self.concurrency if given is None else given,
            queue_size=0 if per_item else stage.queue_size,
            timeout=stage.timeout,
            retry=stage.retry,
            rate_limit=stage.rate_limit,
            recover=envelope.fail,
            max_abandoned=stage.max_abandoned,
            envelope=envelope,
        )
