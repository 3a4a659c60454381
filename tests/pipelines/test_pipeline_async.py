"""Pipelines on a running event loop: ``run_async`` and ``stream``."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, NoReturn

import pytest
import reactivex
from pipeline_helpers import LIMIT, SCHEDULERS, WAYS, Block, Ids, ListSink, SlowSink, counts, same, until
from reactivex import operators as rx_ops

from rxpipe import DatabaseSink, ItemView, Listener, Outcome, Pipeline, Stage, to_async_iterable
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.ports import Write
from rxpipe.pipeline.run.strategies import Strategy


def on_loop(main: Coroutine[Any, Any, Any]) -> None:
    """Run it, and see that it leaves no task."""

    async def run() -> None:
        await main
        async with asyncio.timeout(LIMIT):  # a thread may have to answer a task first
            while asyncio.all_tasks() != {asyncio.current_task()}:  # noqa: ASYNC110 - nothing tells of that
                await asyncio.sleep(0)

    asyncio.run(run())


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_a_run_may_be_awaited(strategy: Strategy, scheduler: Scheduler) -> None:
    """With the same report."""
    sink = ListSink()

    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value

    async def main() -> None:
        stages = Stage("a", same), Stage("b", later)
        report = await Pipeline(*stages, sink=sink, strategy=strategy, scheduler=scheduler).run_async(range(30))
        assert counts(report) == (30, 30, 0, 0)

    on_loop(main())
    assert sorted(sink.ids) == list(range(30))


@pytest.mark.parametrize(("scheduler", "here"), [("asyncio", True), ("threads", False)])
def test_coroutines_run_on_the_loop_with_asyncio_and_on_one_of_their_own_with_threads(
    scheduler: Scheduler, here: bool
) -> None:
    """So they can use what belongs to the running loop, or cannot hold it up."""
    loops: set[asyncio.AbstractEventLoop] = set()

    async def call(value: int) -> None:
        loops.add(asyncio.get_running_loop())

    async def main() -> None:
        await Pipeline(Stage("s", call), scheduler=scheduler).run_async(range(3))
        (loop,) = loops
        assert (loop is asyncio.get_running_loop()) == here

    on_loop(main())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_loop_goes_on_while_a_run_is_awaited(scheduler: Scheduler) -> None:
    """Also while functions block, and while the sink is opened."""

    async def main() -> None:
        block = Block()
        opening = OpensWhenTold()
        running = asyncio.create_task(
            Pipeline(Stage("s", block), sink=opening, scheduler=scheduler).run_async(range(3))
        )
        await asyncio.to_thread(opening.is_opening.wait, LIMIT)
        opening.may_open.set()
        await asyncio.to_thread(block.wait_for, 3)
        assert not running.done()
        block.may_return.set()
        assert counts(await running) == (3, 3, 0, 0)

    on_loop(main())


class OpensWhenTold:
    """A sink that takes its time to open, and tells when it is closed."""

    def __init__(self) -> None:
        self.is_opening = threading.Event()
        self.may_open = threading.Event()
        self.closed = threading.Event()
        self.rows: list[Any] = []

    def open(self) -> Write:
        self.is_opening.set()
        assert self.may_open.wait(LIMIT)
        return rx_ops.do_action(self.rows.append, on_completed=self.closed.set)


class Leaving(Listener):
    """Counts the items that have left the stages."""

    def __init__(self) -> None:
        self.count = 0

    def left(self, item: ItemView) -> None:
        self.count += 1


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_cancelling_writes_what_is_finished_first(strategy: Strategy, scheduler: Scheduler) -> None:
    """Then it raises ``CancelledError``; with ``staged``, nothing is finished before all have been through a stage."""
    sink, leaving = ListSink(), Leaving()
    began: list[int] = []

    async def call(value: int) -> int:
        began.append(value)
        if value >= 2:
            await asyncio.get_running_loop().create_future()
        return value

    async def main() -> None:
        stages = Stage("a", call, concurrency=4), Stage("b", same)
        options: Any = {"strategy": strategy, "scheduler": scheduler, "concurrency": 4}
        pipeline = Pipeline(*stages, sink=sink, listeners=[leaving], **options)
        running = asyncio.create_task(pipeline.run_async(range(4)))
        finished = 0 if strategy == "staged" else 2
        await asyncio.to_thread(until, lambda: (len(began), leaving.count) == (4, finished))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    on_loop(main())
    assert sorted(sink.ids) == ([] if strategy == "staged" else [0, 1])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cancelling_waits_for_the_rows_to_be_written(scheduler: Scheduler) -> None:
    """The sink is slow."""
    sink = SlowSink()

    async def main() -> None:
        running = asyncio.create_task(Pipeline(Stage("s", same), sink=sink, scheduler=scheduler).run_async([1]))
        await asyncio.to_thread(sink.is_at_work.wait, LIMIT)
        running.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not running.done()
        sink.may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await running

    on_loop(main())
    assert sink.ids == [1]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cancelled_while_the_sink_is_opened_it_is_closed_again(scheduler: Scheduler) -> None:
    """And nothing is called."""
    sink = OpensWhenTold()
    called: list[int] = []

    async def main() -> None:
        pipeline = Pipeline(Stage("s", called.append, concurrency=1), sink=sink, scheduler=scheduler)
        running = asyncio.create_task(pipeline.run_async(reactivex.never()))
        await asyncio.to_thread(sink.is_opening.wait, LIMIT)
        running.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not running.done()
        sink.may_open.set()
        with pytest.raises(asyncio.CancelledError):
            await running

    on_loop(main())
    assert sink.closed.is_set()
    assert called == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cancelled_twice_while_the_sink_is_opened_it_is_closed_again(scheduler: Scheduler) -> None:
    """Though nobody waits for that, and nothing is called."""
    sink = OpensWhenTold()
    called: list[int] = []

    async def main() -> None:
        pipeline = Pipeline(Stage("s", called.append, concurrency=1), sink=sink, scheduler=scheduler)
        running = asyncio.create_task(pipeline.run_async(range(200)))
        await asyncio.to_thread(sink.is_opening.wait, LIMIT)
        for _ in range(2):
            running.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
        assert running.cancelled()
        sink.may_open.set()
        assert await asyncio.to_thread(sink.closed.wait, LIMIT)

    on_loop(main())
    assert called == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cancelled_while_a_sink_fails_to_open_it_is_just_cancelled(scheduler: Scheduler) -> None:
    """There is nothing to close."""

    class Fails(OpensWhenTold):
        def open(self) -> NoReturn:
            super().open()
            raise OSError

    sink = Fails()

    async def main() -> None:
        running = asyncio.create_task(Pipeline(Stage("s", same), sink=sink, scheduler=scheduler).run_async([1]))
        await asyncio.to_thread(sink.is_opening.wait, LIMIT)
        running.cancel()
        sink.may_open.set()
        with pytest.raises(asyncio.CancelledError):
            await running

    on_loop(main())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_a_run_fails_with_is_raised(scheduler: Scheduler) -> None:
    """As by ``run``."""

    async def ids() -> AsyncIterator[int]:
        yield 1
        raise LookupError("no more")

    async def main() -> None:
        with pytest.raises(LookupError, match="no more"):
            await Pipeline(Stage("s", same), scheduler=scheduler).run_async(ids())

    on_loop(main())


# Streams


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_outcomes_may_be_streamed(strategy: Strategy, scheduler: Scheduler) -> None:
    """To an ``async for``; each when it is written."""
    sink = ListSink()

    async def main() -> None:
        pipeline = Pipeline(Stage("s", same), sink=sink, strategy=strategy, scheduler=scheduler)
        got = [outcome async for outcome in pipeline.stream(range(30))]
        assert sorted(outcome.id for outcome in got) == list(range(30))
        assert {outcome.status for outcome in got} == {"written"}
        assert len(sink.rows) == 30

    on_loop(main())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_leaving_a_stream_ends_the_run(scheduler: Scheduler) -> None:
    """An endless source is left alone."""
    asked: list[int] = []

    async def ids() -> AsyncIterator[int]:
        for number in itertools.count():
            asked.append(number)
            yield number

    async def main() -> None:
        async with aclosing(Pipeline(Stage("s", same), scheduler=scheduler).stream(ids())) as outcomes:
            async for outcome in outcomes:
                if outcome.id == 3:
                    break
        for _ in range(20):
            await asyncio.sleep(0)
        count = len(asked)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(asked) == count

    on_loop(main())


def test_leaving_a_stream_closes_its_database(tmp_path: Path) -> None:
    """Nothing is left open; what was told of is there."""
    url = f"sqlite:///{tmp_path}/x.db"

    async def main() -> None:
        pipeline = Pipeline(Stage("s", same), sink=DatabaseSink(url), scheduler="asyncio")
        async with aclosing(pipeline.stream(itertools.count())) as outcomes:
            async for _ in outcomes:
                break

    on_loop(main())
    assert counts(Pipeline(Stage("s", same), sink=DatabaseSink(url)).run([1])) == (1, 1, 0, 0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_slow_consumer_bounds_the_run(scheduler: Scheduler) -> None:
    """One taken, two buffered, one at the exit, one in the stage's slot and one that waits."""
    ids = Ids(1000)

    async def main() -> None:
        pipeline = Pipeline(Stage("s", same, concurrency=1, queue_size=1), scheduler=scheduler)
        async with aclosing(pipeline.stream(ids, max_items=2)) as outcomes:
            await anext(outcomes)
            await asyncio.to_thread(ids.wait_for, 6)
            for _ in range(100):
                await asyncio.sleep(0)
            assert ids.given == 6

    on_loop(main())


def test_what_a_run_fails_with_comes_after_the_outcomes_before() -> None:
    """As in any sequence."""
    got: list[Outcome[Any]] = []
    source = reactivex.concat(reactivex.of(1, 2), reactivex.throw(LookupError("no more")))

    async def take_all() -> None:
        async for outcome in Pipeline(Stage("s", same)).stream(source):
            got.append(outcome)  # noqa: PERF401 - it raises

    with pytest.raises(LookupError, match="no more"):
        on_loop(take_all())
    assert sorted(outcome.id for outcome in got) == [1, 2]


def test_several_runs_share_a_loop() -> None:
    """Each has its own report."""

    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value

    async def main() -> None:
        pipeline = Pipeline(Stage("s", later), scheduler="asyncio")
        reports = await asyncio.gather(*(pipeline.run_async(range(count)) for count in (5, 10, 15)))
        assert [report.written for report in reports] == [5, 10, 15]

    on_loop(main())


@pytest.mark.parametrize("way", ["run_async", "stream", "open", "to_async_iterable"])
def test_awaited_by_another_library_than_asyncio_is_refused_with_what_to_do(way: str) -> None:
    """As trio awaits it: by sending to the coroutine, while no event loop of asyncio runs."""
    pipeline = Pipeline(Stage("a", same))
    awaitables: dict[str, Callable[[], Any]] = {
        "run_async": lambda: pipeline.run_async([1]),
        "stream": lambda: anext(pipeline.stream([1])),
        "open": lambda: pipeline.open().__aenter__(),
        "to_async_iterable": lambda: anext(to_async_iterable(reactivex.of(1))),
    }
    with pytest.raises(RuntimeError, match=r"trio\.to_thread\.run_sync\(pipeline\.run, ids\)"):
        awaitables[way]().__await__().send(None)


def test_a_submission_that_another_library_awaits_is_refused() -> None:
    """It may be waited for by ``result`` instead."""
    block = Block()
    with Pipeline(Stage("a", block)).open() as running:
        submission = running.submit(1)
        with pytest.raises(RuntimeError, match="awaited on asyncio"):
            submission.__await__().send(None)
        block.may_return.set()
        assert submission.result(LIMIT).status == "written"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("piped", [True, False])
def test_run_of_outcomes_on_a_running_loop_is_refused(piped: bool, scheduler: Scheduler) -> None:
    """It would wait for ever for what is notified on that loop; nothing is opened for it."""
    sink = ListSink()
    outcomes = Pipeline(Stage("a", same), sink=sink, scheduler=scheduler).outcomes(range(3))
    if piped:
        outcomes = outcomes.pipe(rx_ops.filter(lambda outcome: True), rx_ops.last())

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"write `await pipeline\.run_async\(ids\)` instead"):
            outcomes.run()
        assert sink.opened == 0
        assert (await outcomes).status == "written"

    asyncio.run(main())
