"""``Pipeline``: stages and a sink. A run takes IDs through them and accounts for every item."""

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

_MOST_STAGES = 100  # each stage takes some frames of Python's stack
_MOST_STAGED = 50  # each stage also has a collecting operator before it
_INSTEAD = "`await pipeline.run_async(ids)` instead, or `async for outcome in pipeline.stream(ids)`"


class PipelineOptions(TypedDict, total=False):
    """The options of a ``Pipeline``; ``Pipeline`` describes them."""

    sink: Sink | None
    strategy: Strategy
    scheduler: Scheduler
    concurrency: int
    store: Store | None
    max_cost: float | None
    listeners: Sequence[Listener]
    name: str | None


class Pipeline(Generic[In, Out]):
    """The stages that items go through, and the sink that keeps the outcomes.

    ::

        pipeline = Pipeline(
            Stage("generation", generate, concurrency=3, timeout=60),
            Stage("answering", answer, concurrency=8, timeout=120),
            sink=DatabaseSink("sqlite:///questions.db"),
        )
        report = pipeline.run(range(1000))

    Every item ends in exactly one ``Outcome``:

    - ``written``: the item went through all stages, and its row is committed. Without a sink: the last stage returned.
    - ``failed``: a stage failed for good, or the database refused the row. The item skips the remaining stages, and the
      sink gets its outcome, too.
    - ``dropped``, ``expanded`` or ``collected``: see ``Drop`` and the options ``expand`` and ``collect`` of ``Stage``.
    - ``cancelled``: the item was on its way when the run was stopped.

    A pipeline has no state of its runs. You can run it again, and several times at once.
    """

    # Type checkers report stages whose types do not fit, in chains of up to eight stages.
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
            stages: The stages, in order; at least one. Their names must differ.
            sink: Keeps the outcomes. Without a sink, outcomes are only counted and notified.
            strategy: ``per_stage``, ``per_item`` or ``staged``; see ``rxpipe/pipeline/run/strategies.py``.
            scheduler: Where outcomes are notified and functions run. ``threads``: outcomes come on rxpipe's threads,
                and coroutine functions run on an event loop of their own. ``asyncio``: outcomes come on one event loop,
                coroutine functions run on that loop, and plain functions run on worker threads.
            concurrency: Calls at once in each stage without a ``concurrency`` of its own. With ``per_item``: items at
                once.
            store: Keeps the results of stages, so that a later run continues where this run stopped.
            max_cost: The most that the calls of a run may cost, as they report it to ``rxpipe.record_usage``. With a
                store, calls of earlier processes of the run count, too. If the next call would probably exceed it, the
                call is not made, the run stops, and fails with ``BudgetSpent``.
            listeners: Receive all events of items and calls, for example for traces.
            name: Identifies the pipeline's runs in a store, and the owner of its table of rows. The default is the name
                of the file that makes the pipeline, without its ending.

        Raises:
            ValueError: There is no stage, or there are more than 100 (50 with ``staged``). Two stages have the same
                name. A number is out of range. A stage has ``cache``, and there is no store. Or there is a store, and
                the strategy is ``staged``, which holds all results until the end.
            TypeError: An argument is of the wrong type, such as a stage that is no ``Stage``. A coroutine function has
                an executor. Or there is a store, and the sink is neither a ``DatabaseSink`` nor a ``JsonLinesSink``.
            ConfigError: The store is in another database than the ``DatabaseSink``.
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
            store.check_beside(sink)  # raise the errors of open() now
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
        """Run the pipeline over all IDs of a source, and wait for the end.

        After the first Ctrl-C, no more IDs are taken, and items on their way finish. The second Ctrl-C cancels them. In
        both cases the call then raises ``KeyboardInterrupt``.

        Args:
            source: The IDs (ints or strings) or ``Record`` objects: an iterable, an async iterable or an Observable. An
                iterator or a generator may block, since it has a thread of its own.
            until: Number of rows to write; None for all items. The run ends when exactly that many items are written.
                With a store, items written by earlier runs count. The source may be endless: failed and dropped items
                are replaced by further ones. Never more items are on their way than rows are missing. Superfluous
                children end as ``cancelled``. Several workers of one run write that many rows together; give all of
                them the same number.
            progress: Show the progress on standard error: as a live screen on a terminal, else as a line from time to
                time. Output of functions appears above the screen. The display ends with the run, also after Ctrl-C.

        Returns:
            The report of the run.

        Raises:
            ValueError: ``until`` is below 1, or is given with the strategy ``staged``.
            ConfigError: The source gives a value that is no ID; or ``progress`` needs a package that is not installed.
            SinkError: The sink cannot be opened, or stayed away too long.
            StageStalled: Calls that do not return hold all slots of a stage.
            StopRun: A stage's function raised this error; ``BudgetSpent`` if a call might have exceeded ``max_cost``.
            Exception: The source's own error, raised after all items that were taken have ended.
            KeyboardInterrupt: You pressed Ctrl-C.
            RuntimeError: An event loop is running on this thread, and must not be blocked.
        """
        plan = until_written(self, until)
        return run_shown(plan, source) if progress else run_blocking(plan, source)

    async def run_async(self, source: Source[In], *, until: int | None = None) -> Report:
        """Run the pipeline as ``run`` does, without blocking the event loop.

        With ``scheduler="asyncio"`` the run uses the running loop. An async iterable is always iterated on the running
        loop. If you cancel the call, its running calls are cancelled, and finished items are still written before it
        ends. Raises the errors of ``run``, except ``KeyboardInterrupt``.
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
                finished.exception()  # else asyncio logs that the exception was never retrieved
            raise

    def open(
        self,
        *,
        capacity: int | None = None,
        grace: float | None = None,
        stalled_after: float | None = None,
        scheduler: SchedulerBase | None = None,
    ) -> OpenPipeline[In, Out]:
        """Open the pipeline for IDs that are submitted one by one, such as requests and messages.

        ::

            async with pipeline.open() as running:  # also ``with``, in threads
                outcome = await running.submit(question_id)

        Args:
            capacity: The most IDs that the pipeline holds at once; an ID counts until it leaves the last stage for the
                sink. The default is the sum of all slots and queue places of the stages.
            grace: Seconds that items on their way have to finish after the close. Then they are cancelled. By default
                there is no limit.
            stalled_after: Seconds without progress after which ``health()`` reports ``stalled``. The default is 60, or
                1.5 times the longest timeout or delay between attempts of a stage, if that is longer.
            scheduler: A virtual scheduler for the time of the run, in tests. Then ``submit`` never waits for room, and
                leaving the context lets all the necessary time pass.

        Raises:
            ValueError: A number is out of range; or the strategy is ``staged``, which gives no outcome before the end.
        """
        return OpenPipeline(self, capacity=capacity, grace=grace, stalled_after=stalled_after, scheduler=scheduler)

    def outcomes(self, source: Source[In], *, until: int | None = None) -> Observable[Outcome[Out]]:
        """Returns a cold observable of the outcomes, as items end. Each subscription is a run of its own.

        - Subscribing opens the sink, which may block for a moment.
        - If you subscribe on an event loop, outcomes are notified on that loop. ``.run()`` of the observable would
          block the loop, so it raises ``RuntimeError`` there.
        - Disposing a subscription cancels its run. Outcomes that were not notified may not have been written.

        Args:
            source: As for ``run``.
            until: As for ``run``.
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
        """Returns the outcomes for an ``async for`` loop on the running event loop, as items end.

        If you leave the loop early, closing the generator cancels the run. Use ``contextlib.aclosing`` to close the
        generator at once.

        Args:
            source: As for ``run``.
            max_items: Outcomes that may wait for the loop, at least 1. The pipeline pauses while that many wait.
            until: As for ``run``.

        Raises:
            ValueError: ``max_items`` is below 1.
            Exception: The errors of ``run``, after the outcomes that came before.
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
        """Start a run and return it without waiting for its end.

        The ``Run`` has live counts, the methods ``stop()`` and ``abort()``, and a future of the report.

        Args:
            source: As for ``run``.
            observer: Receives each outcome. The run waits while the observer handles an outcome.
            until: As for ``run``.
            scheduler: A virtual scheduler for the time of the run, in tests.

        Raises:
            SinkError: The sink cannot be opened.
            RuntimeError: The scheduler is ``asyncio``, and no event loop is running on this thread.
        """
        return start(until_written(self, until), source, observer, scheduler=scheduler)
