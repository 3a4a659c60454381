from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, SCHEDULERS, WAYS, Block, Ids, ListSink, Seen, counts, finish, run_virtually, same
from reactivex import operators as rx_ops
from reactivex.subject import Subject
from structlog.testing import capture_logs

from rxpipe import ConfigError, DatabaseSink, Pipeline, Stage, from_async_iterable, from_iterable
from rxpipe import operators as ops
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy


async def numbers_later(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


class OldStyle:
    """Iterable by ``__getitem__`` only."""

    def __getitem__(self, index: int) -> int:
        return range(20)[index]


def is_small(number: int) -> bool:
    return number < 20


SOURCES: dict[str, Any] = {
    "list": lambda: list(range(20)),
    "range": lambda: range(20),
    "set": lambda: set(range(20)),
    "keys": lambda: dict.fromkeys(range(20)),
    "generator": lambda: numbers(20),
    "old style": OldStyle,
    "async generator": lambda: numbers_later(20),
    "from_iterable": lambda: from_iterable(range(20)),
    "from_async_iterable": lambda: from_async_iterable(numbers_later(20)),
    "reactivex": lambda: reactivex.from_iterable(range(20)),
    "chain": lambda: from_iterable(range(40)).pipe(rx_ops.filter(is_small)),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_ids_come_from_anything_that_gives_them(scheduler: Scheduler, kind: str) -> None:
    """By ``run``."""
    sink = ListSink()
    report = Pipeline(Stage("s", same), sink=sink, scheduler=scheduler).run(SOURCES[kind]())
    assert counts(report) == (20, 20, 0, 0)
    assert sorted(sink.ids) == list(range(20))


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_ids_come_from_anything_also_on_a_running_loop(scheduler: Scheduler, kind: str) -> None:
    """By ``run_async``."""
    sink = ListSink()
    pipeline = Pipeline(Stage("s", same), sink=sink, scheduler=scheduler)
    report = asyncio.run(pipeline.run_async(SOURCES[kind]()))
    assert counts(report) == (20, 20, 0, 0)
    assert sorted(sink.ids) == list(range(20))


@pytest.mark.parametrize(
    "source", [[], iter(()), reactivex.empty(), numbers_later(0)], ids=["list", "iterator", "observable", "async"]
)
@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_an_empty_source_is_an_empty_run(strategy: Strategy, scheduler: Scheduler, source: Any) -> None:
    """It ends at once."""
    report = Pipeline(Stage("s", same), strategy=strategy, scheduler=scheduler).run(source)
    assert counts(report) == (0, 0, 0, 0)
    assert (report.first_seconds, report.most_in_flight, report.bottleneck) == (None, 0, None)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_async_iterable_is_iterated_on_the_loop_that_runs(scheduler: Scheduler) -> None:
    """So that it can use what belongs to that loop, such as a queue."""

    async def main() -> tuple[int, int, int, int]:
        queue: asyncio.Queue[int | None] = asyncio.Queue(1)

        async def fill() -> None:
            for number in range(30):
                await queue.put(number)
            await queue.put(None)

        async def ids() -> AsyncIterator[int]:
            while (number := await queue.get()) is not None:
                yield number

        filling = asyncio.create_task(fill())
        report = await Pipeline(Stage("s", same), scheduler=scheduler).run_async(ids())
        await filling
        return counts(report)

    assert asyncio.run(main()) == (30, 30, 0, 0)


def test_an_async_iterable_is_asked_only_when_there_is_room() -> None:
    """Also where it is iterated on another thread: one being called, one that waits, and two at hand."""
    asked: list[int] = []

    async def ids() -> AsyncIterator[int]:
        for number in itertools.count():
            asked.append(number)
            yield number

    async def main() -> None:
        block = Block()
        pipeline = Pipeline(Stage("s", block, concurrency=1, queue_size=1))
        running = asyncio.create_task(pipeline.run_async(ids()))
        await asyncio.to_thread(block.wait_for, 1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(asked) <= 4
        running.cancel()
        block.may_return.set()
        with suppress(asyncio.CancelledError):
            await running

    asyncio.run(main())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_generator_that_blocks_holds_nobody_up(scheduler: Scheduler) -> None:
    """Finished items are written meanwhile."""
    may_end = threading.Event()

    def ids() -> Iterator[int]:
        yield from range(5)
        assert may_end.wait(LIMIT)

    written: list[int] = []

    def note(outcome: Any) -> None:
        written.append(outcome.id)
        if len(written) == 5:
            may_end.set()

    sink = ListSink()
    sink.open = lambda: rx_ops.do_action(note)  # type: ignore[method-assign]
    assert counts(Pipeline(Stage("s", same), sink=sink, scheduler=scheduler).run(ids())) == (5, 5, 0, 0)


def test_a_generator_is_iterated_on_one_thread_that_ends_with_the_run() -> None:
    """Generators must not be entered by two threads, and threads must not pile up."""
    threads: set[threading.Thread] = set()

    def ids() -> Iterator[int]:
        for number in range(50):
            threads.add(threading.current_thread())
            yield number

    Pipeline(Stage("s", same)).run(ids())
    (thread,) = threads
    assert thread.name == "rxpipe-source"
    thread.join(LIMIT)
    assert not thread.is_alive()


def test_a_generator_ends_when_the_run_is_stopped() -> None:
    """What it holds open is closed."""
    closed = threading.Event()

    def ids() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    seen = Seen()
    run = Pipeline(Stage("s", same)).start(ids(), seen)
    seen.wait_for(10)
    run.stop()
    report = finish(run)
    assert report.written == report.taken >= 10
    assert closed.wait(LIMIT)


def test_in_virtual_time_a_generator_is_iterated_there() -> None:
    """A thread of its own would not wait for it."""
    assert counts(run_virtually(Pipeline(Stage("s", same)), numbers(20))) == (20, 20, 0, 0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("at", [0, 7])
def test_when_a_source_raises_what_was_taken_finishes_first(scheduler: Scheduler, at: int) -> None:
    """Then the run raises the same."""
    sink = ListSink()

    def ids() -> Iterator[int]:
        yield from range(at)
        raise LookupError("no more")

    pipeline = Pipeline(Stage("s", same), sink=sink, scheduler=scheduler)
    with pytest.raises(LookupError, match="no more"):
        pipeline.run(ids())
    assert sorted(sink.ids) == list(range(at))


def test_when_an_async_source_or_an_observable_raises_what_was_taken_finishes_first() -> None:
    """As with any source."""

    async def ids() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise LookupError("no more")

    for source in (ids(), reactivex.concat(reactivex.of(1, 2), reactivex.throw(LookupError("no more")))):
        sink = ListSink()
        with pytest.raises(LookupError, match="no more"):
            Pipeline(Stage("s", same), sink=sink).run(source)
        assert sorted(sink.ids) == [1, 2]


def test_a_source_that_exits_the_program_fails_the_run() -> None:
    """It does not end a thread in silence, and have the run hang."""

    def ids() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    sink = ListSink()
    with pytest.raises(Exception, match="SystemExit: 3"):
        Pipeline(Stage("s", same), sink=sink).run(ids())
    assert sink.ids == [1]


def test_a_source_that_raises_at_subscription_fails_the_run() -> None:
    """Or at ``iter``."""

    class Broken:
        def __iter__(self) -> Iterator[int]:
            raise LookupError("iter")

    with pytest.raises(LookupError, match="iter"):
        Pipeline(Stage("s", same)).run(Broken())

    def subscribe(observer: Any, scheduler: Any = None) -> Any:
        raise LookupError("subscribe")

    with pytest.raises(LookupError, match="subscribe"):
        Pipeline(Stage("s", same)).run(reactivex.create(subscribe))


@pytest.mark.parametrize(
    ("bad", "shown"),
    [
        (2.5, r"2\.5 \(float\)"),
        (True, r"True \(bool\)"),
        (None, r"None \(NoneType\)"),
        (b"x", r"b'x' \(bytes\)"),
        ((1,), r"\(1,\) \(tuple\)"),
    ],
)
def test_an_id_of_the_wrong_type_ends_the_run(bad: object, shown: str) -> None:
    """As a source that fails does: those before it finish, none after it is taken."""
    sink = ListSink()
    with pytest.raises(ConfigError, match=f"an ID must be an int or a str, not {shown}"):
        Pipeline(Stage("s", same), sink=sink).run([1, "b", bad, 4, object()])
    assert sorted(map(str, sink.ids)) == ["1", "b"]


def test_an_id_that_cannot_be_shown_is_refused_all_the_same() -> None:
    """Its own ``repr`` may raise."""

    class Unshowable:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(ConfigError, match="Unshowable"):
        Pipeline(Stage("s", same)).run([Unshowable()])


def test_after_an_id_of_the_wrong_type_none_is_taken_from_a_source_that_pushes() -> None:
    """Though it has queued some."""
    sink = ListSink()
    with pytest.raises(ConfigError, match=r"not 2\.5"):
        Pipeline(Stage("s", same), sink=sink).run(reactivex.of(1, 2.5, 3))
    assert sink.ids == [1]


@pytest.mark.parametrize("source", ["abc", b"abc"])
def test_one_string_is_not_taken_for_many_ids(source: Any) -> None:
    """Its letters would be."""
    pipeline = Pipeline(Stage("s", same))
    with pytest.raises(ConfigError, match=r"source: IDs, such as .* not a single"):
        pipeline.run(source)
    with pytest.raises(ConfigError, match="not a single"):
        asyncio.run(pipeline.run_async(source))


def test_what_is_no_source_is_refused_before_the_sink_is_opened() -> None:
    """The error names what is allowed."""
    sink = ListSink()
    source: Any = 5
    with pytest.raises(ConfigError, match="an iterable, an async iterable or an Observable, not int"):
        Pipeline(Stage("s", same), sink=sink).run(source)
    assert sink.opened == 0


def test_ids_may_be_any_text_and_come_several_times(tmp_path: Path) -> None:
    """Every time counts, though rows with the same key are one."""
    ids = ["ü", "日本", "", "a b", 7, "7", "ü", "ü", 10**30]
    sink = DatabaseSink(f"sqlite:///{tmp_path}/x.db")
    assert counts(Pipeline(Stage("s", same), sink=sink).run(ids)) == (9, 9, 0, 0)
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        rows = connection.execute("SELECT id, value FROM results").fetchall()
    assert {key for key, _ in rows} == set(map(str, ids))
    assert len(rows) == 6


def test_a_source_that_pushes_without_regard_is_accepted_with_a_warning() -> None:
    """One only, which says what to do."""
    with capture_logs() as logs:
        report = Pipeline(Stage("s", same)).run(reactivex.from_iterable(range(500)))
    assert counts(report) == (500, 500, 0, 0)
    (warning,) = logs
    assert warning["event"] == "source ignores backpressure, its IDs queue without bound"
    assert "rxpipe.from_iterable" in warning["hint"]


def test_a_few_ids_that_are_pushed_need_no_warning() -> None:
    """As of a subject now and then."""
    with capture_logs() as logs:
        Pipeline(Stage("s", same)).run(reactivex.from_iterable(range(50)))
    assert logs == []


def test_a_subject_is_a_source_while_it_lasts() -> None:
    """It pushes when it likes."""
    ids: Subject[Any] = Subject()
    seen = Seen()
    run = Pipeline(Stage("s", same)).start(ids.pipe(ops.overflow("error", 10)), seen)
    for number in range(3):
        ids.on_next(number)
        seen.wait_for(number + 1)
    ids.on_completed()
    assert counts(finish(run)) == (3, 3, 0, 0)


def test_ids_are_taken_only_as_there_is_room() -> None:
    """Two being called, and three that wait."""
    ids, block = Ids(1000), Block()
    run = Pipeline(Stage("s", block, concurrency=2, queue_size=3)).start(ids)
    block.wait_for(2)
    ids.wait_for(5)
    run.stop()
    block.may_return.set()
    assert counts(finish(run)) == (5, 5, 0, 0)
    assert ids.given == 5
