"""``Pipeline``: stages and a sink, run over IDs, with every item accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from typing import Any, Generic, TypedDict, Unpack, get_args, overload

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.identity.names import DefaultName, checked
from rxpipe.operators.core.loop_guard import refuse_to_block
from rxpipe.operators.to_async import to_async_iterable
from rxpipe.pipeline.blocking import prepare_async, run_blocking, start_async
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.open import OpenPipeline
from rxpipe.pipeline.outcome import Outcome, Report
from rxpipe.pipeline.plan import Scheduler, compose_stages, until_written
from rxpipe.pipeline.ports import RunPorts, Sink, Store
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.strategies import Strategy
from rxpipe.pipeline.show_progress import run_shown
from rxpipe.pipeline.source import Source, as_observable, on_running_loop
from rxpipe.pipeline.stage import Stage
from rxpipe.pipeline.start import start

In = TypeVar("In", contravariant=True, default=Any)
Out = TypeVar("Out", covariant=True, default=Any)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")
I = TypeVar("I")  # noqa: E741 - the ninth

_MOST_STAGES = 100  # each takes some frames of Python's stack
_MOST_STAGED = 50  # each also has a collecting operator before it
_INSTEAD = "`await pipeline.run_async(ids)` instead, or `async for outcome in pipeline.stream(ids)`"


class PipelineOptions(TypedDict, total=False):
    """The options of a ``Pipeline``, where they are described."""

    sink: Sink | None
    strategy: Strategy
    scheduler: Scheduler
    concurrency: int
    store: Store | None
    max_cost: float | None
    listeners: Sequence[Listener]
    name: str | None


class Pipeline(Generic[In, Out]):
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

    # A chain of up to eight stages whose types do not fit is an error of type checkers.
    # fmt: off
    @overload
    def __init__(self: Pipeline[A, B], s1: Stage[A, B], /, **options: Unpack[PipelineOptions]) -> None: ...
    @overload
    def __init__(self: Pipeline[A, C], s1: Stage[A, B], s2: Stage[B, C], /,
                 **options: Unpack[PipelineOptions]) -> None: ...
    @overload
    def __init__(self: Pipeline[A, D], s1: Stage[A, B], s2: Stage[B, C], s3: Stage[C, D], /,
                 **options: Unpack[PipelineOptions]) -> None: ...
    @overload
    def __init__(self: Pipeline[A, E], s1: Stage[A, B], s2: Stage[B, C], s3: Stage[C, D], s4: Stage[D, E], /,
                 **options: Unpack[PipelineOptions]) -> None: ...
    @overload
    def __init__(self: Pipeline[A, F], s1: Stage[A, B], s2: Stage[B, C], s3: Stage[C, D], s4: Stage[D, E],
                 s5: Stage[E, F], /, **options: Unpack[PipelineOptions]) -> None: ...
    @overload
    def __init__(self: Pipeline[A, G], s1: Stage[A, B], s2: Stage[B, C], s3: Stage[C, D], s4: Stage[D, E],
                 s5: Stage[E, F], s6: Stage[F, G], /, **options: Unpack[PipelineOptions]) -> None: ...
    @overload
    def __init__(self: Pipeline[A, H], s1: Stage[A, B], s2: Stage[B, C], s3: Stage[C, D], s4: Stage[D, E],
                 s5: Stage[E, F], s6: Stage[F, G], s7: Stage[G, H], /, **options: Unpack[PipelineOptions]) -> None: ...
    @overload
    def __init__(self: Pipeline[A, I], s1: Stage[A, B], s2: Stage[B, C], s3: Stage[C, D], s4: Stage[D, E],
                 s5: Stage[E, F], s6: Stage[F, G], s7: Stage[G, H], s8: Stage[H, I], /,
                 **options: Unpack[PipelineOptions]) -> None: ...
    @overload
    def __init__(self, s1: Stage, s2: Stage, s3: Stage, s4: Stage, s5: Stage, s6: Stage, s7: Stage, s8: Stage,
                 s9: Stage, /, *more: Stage, **options: Unpack[PipelineOptions]) -> None: ...
    # fmt: on
    def __init__(
        self,
        *stages: Stage[Any, Any],
        sink: Sink | None = None,
        strategy: Strategy = "per_stage",
        scheduler: Scheduler = "threads",
        concurrency: int = 3,
        store: Store | None = None,
        max_cost: float | None = None,
        listeners: Sequence[Listener] = (),
        name: str | None = None,
    ) -> None:
        """Compose a pipeline.

        Args:
            stages: In order; at least one, and each name once.
            sink: Where outcomes go.
            strategy: ``per_stage``, ``per_item`` or ``staged``; see ``rxpipe/pipeline/run/strategies.py``.
            scheduler: ``threads``: outcomes come on rxpipe's threads, coroutine functions run on a loop of their own.
                ``asyncio``: everything comes on one event loop, coroutine functions run there, plain ones on
                worker threads.
            concurrency: Calls at once of stages that do not say; with ``per_item``, items at once.
            store: Keeps what each stage has returned, so that a later run goes on where this one was left.
            max_cost: What the calls of a run may cost, by what they tell ``rxpipe.record_usage``; with a store, those
                of earlier processes of the run included. No call is made that would probably exceed it; then the run
                stops, and fails with ``BudgetSpent``.
            listeners: Told of all items and calls, for traces and the like.
            name: What its runs are found by, and its table of rows belongs to. By default the name of the file that
                makes the pipeline, without its ending.

        Raises:
            ValueError: There is no stage, or more than 100 (50 with ``staged``), a name comes twice, a number is out of
                range, a stage has ``cache`` and there is no store, or there is a store and the strategy is ``staged``,
                which holds all results to the end.
            TypeError: What is not a ``Stage``, a coroutine function with an executor, or a store and a sink that is
                neither a ``DatabaseSink`` nor a ``JsonLinesSink``.
            ConfigError: The store is not in the database of a ``DatabaseSink``.
        """
        given: list[tuple[Any, type]] = [*((one, Stage) for one in stages), *((one, Listener) for one in listeners)]
        for one, kind in given:
            if not isinstance(one, kind):
                raise TypeError(f"a pipeline is made of {kind.__name__}, not {one!r}")
        if (sink is not None and not (hasattr(sink, "open") and callable(sink.open))) or isinstance(sink, type):
            url = sink if isinstance(sink, str) else "sqlite:///questions.db"
            raise TypeError(f"sink must be a sink, such as DatabaseSink({url!r}), not {sink!r}")
        if store is not None and (isinstance(store, type) or not hasattr(store, "open_run")):
            raise TypeError(f"store must be a store, such as RunStore(), not {store!r}")
        if not stages:
            raise ValueError("a pipeline needs at least one stage")
        if len(stages) > (most := _MOST_STAGED if strategy == "staged" else _MOST_STAGES):
            raise ValueError(f"a pipeline has at most {most} stages with strategy {strategy}, not {len(stages)}")
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
            store.check_beside(sink)  # refuse now what open() would
        elif cached := [stage.name for stage in stages if stage.cache]:
            raise ValueError(f"stage {cached[0]}: cache=True needs a store, such as Pipeline(store=RunStore())")
        self.name = DefaultName.of_caller() if name is None else checked(name)
        self.stages = stages
        self.sink = sink
        self.store = store
        self.strategy: Strategy = strategy
        self.scheduler: Scheduler = scheduler
        self.concurrency = concurrency
        self.max_cost = max_cost
        self.listeners = tuple(listeners)
        self.until: int | None = None
        compose_stages(self)  # raise for impossible combinations now, not in run()

    def run(self, source: Source[In], *, until: int | None = None, progress: bool = False) -> Report:
        """Run over all IDs of a source, and wait for it.

        On the first Ctrl-C no more IDs are taken, and those on their way finish; on the second they are cancelled.
        Then ``KeyboardInterrupt`` is raised.

        Args:
            source: IDs, ints or strings: an iterable, an async iterable or an Observable. An iterator or a
                generator may block: it is iterated on a thread of its own.
            until: End when exactly so many items are written, with a store those of earlier runs included. Never more
                are on their way than are missing. The source may be endless; what fails or is dropped is made up for.
                Children that are not needed any more end as ``cancelled``. Several workers of one run write so many
                together, if each is told the same.
            progress: Show how it goes on standard error: as a live screen on a terminal, else as a line now and then.
                What functions print then goes above the screen. It ends with the run, also with Ctrl-C.

        Raises:
            ValueError: ``until`` is below 1, or the strategy is ``staged``.
            ConfigError: The source gives what is no ID; or ``progress`` needs a package that is not installed.
            SinkError: The sink cannot be opened, or stayed away for too long.
            StageStalled: All slots of a stage are taken by calls that do not return.
            StopRun: A stage's function raised it; ``BudgetSpent`` if ``max_cost`` would have been exceeded.
            Exception: What the source raised, when all that were taken have ended.
            KeyboardInterrupt: Ctrl-C came.
            RuntimeError: An event loop is running on this thread, which must not be blocked.
        """
        plan = until_written(self, until)
        return run_shown(plan, source) if progress else run_blocking(plan, source)

    async def run_async(self, source: Source[In], *, until: int | None = None) -> Report:
        """The same as ``run``, awaited; with ``scheduler="asyncio"`` on the running loop.

        An async iterable is iterated on the running loop in any case. Cancelling it cancels the calls; what is
        finished is still written before it ends. Raises what ``run`` raises, but for interrupts.
        """
        ids = on_running_loop(source) if isinstance(source, AsyncIterable) else as_observable(source)
        run = await start_async(until_written(self, until), ids)
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
        self,
        *,
        capacity: int | None = None,
        grace: float | None = None,
        stalled_after: float | None = None,
        scheduler: SchedulerBase | None = None,
    ) -> OpenPipeline[In, Out]:
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
            scheduler: Whose time it goes by: a virtual one, in tests. Then ``submit`` never waits for room, and leaving
                the context lets all the time pass that is needed.

        Raises:
            ValueError: A number is out of range, or the strategy is ``staged``, which lets nothing out to the end.
        """
        return OpenPipeline(self, capacity=capacity, grace=grace, stalled_after=stalled_after, scheduler=scheduler)

    def outcomes(self, source: Source[In], *, until: int | None = None) -> Observable[Outcome[Out]]:
        """The outcomes, as they come: a cold observable, each subscription a run of its own.

        Subscribing opens the sink, which may block for a moment. Done on an event loop, everything is notified there;
        so ``.run()``, which would block that loop, raises a ``RuntimeError``. Disposing a subscription cancels its
        run: outcomes that were not notified may not have been written.
        """
        return until_written(self, until)._outcomes(source)

    def _outcomes(self, source: Source[In], ports: RunPorts | None = None) -> Observable[Outcome[Out]]:
        def subscribe(observer: ObserverBase[Outcome[Out]], scheduler: SchedulerBase | None = None) -> DisposableBase:
            refuse_to_block(_INSTEAD)  # before anything is opened
            return start(self, source, observer, ports=ports, scheduler=scheduler).subscription

        return reactivex.create(subscribe)

    async def stream(
        self, source: Source[In], *, max_items: int = 10, until: int | None = None
    ) -> AsyncGenerator[Outcome[Out], None]:
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
        limited = until_written(self, until)
        with await prepare_async(limited) as ports:
            async with aclosing(to_async_iterable(limited._outcomes(ids, ports), max_items)) as outcomes:
                async for outcome in outcomes:
                    yield outcome

    def start(
        self,
        source: Source[In],
        observer: ObserverBase[Outcome[Out]] | None = None,
        *,
        until: int | None = None,
        scheduler: SchedulerBase | None = None,
    ) -> Run:
        """Start a run and return it: live counts, ``stop()`` and ``abort()``, and a future of its report.

        Args:
            source: IDs, as for ``run``.
            observer: Notified of each outcome; it slows the run down while it does not return.
            until: As for ``run``.
            scheduler: Whose time the run goes by: a virtual one, in tests.

        Raises:
            SinkError: The sink cannot be opened.
            RuntimeError: The scheduler is ``asyncio``, and no event loop is running here.
        """
        return start(until_written(self, until), source, observer, scheduler=scheduler)
