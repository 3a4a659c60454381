"""Runs that fail while they are opened: whatever was opened by then is closed again."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import reactivex
from pipeline_helpers import SCHEDULERS, ListSink, Seen, same, until
from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe import DatabaseSink, Outcome, Pipeline, RunStore, Stage
from rxpipe.executors.engine import EngineSettings, OpenEngine
from rxpipe.operators.core.loops import BACKGROUND_LOOP
from rxpipe.operators.runners.runner import Runner
from rxpipe.operators.runners.thread_runner import ThreadRunner
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.ports import Write
from rxpipe.pipeline.prepare import prepare
from rxpipe.pipeline.run.run import Run

LASTING = ("rxpipe-heartbeat", "rxpipe-loop", "rxpipe-run", "rxpipe-source", "rxpipe-closing", "rxpipe-release")


class Engines:
    """Where calls run on threads, and how many such places are open."""

    open = 0


class _Engine(OpenEngine):
    def __init__(self) -> None:
        Engines.open += 1
        self._closed = False

    def runner(self) -> Runner:
        return ThreadRunner()

    def missing(self, function: bytes) -> str | None:
        return None

    def close(self) -> None:
        Engines.open -= not self._closed
        self._closed = True


@dataclass(frozen=True)
class Elsewhere(EngineSettings):
    name: str
    where: ClassVar[str] = "elsewhere"

    @property
    def width(self) -> int | None:
        return 2

    def pickler(self) -> Any:
        return pickle

    def _open(self) -> OpenEngine:
        return _Engine()


class Failure(BaseException):
    """What no ``except Exception`` takes."""


def fail(*arguments: Any, **options: Any) -> Any:
    raise Failure


def pipeline_in(folder: Path, scheduler: Scheduler = "threads", *, durable: bool = True) -> Pipeline:
    return Pipeline(
        Stage("a", same, executor=Elsewhere("one")),
        Stage("b", same, executor=Elsewhere("two")),
        sink=DatabaseSink(f"sqlite:///{folder / 'bank.db'}", table="opening"),
        store=RunStore() if durable else None,
        scheduler=scheduler,
    )


async def stream(pipeline: Pipeline) -> None:
    async for _ in pipeline.stream([1]):
        pass


async def open_async(pipeline: Pipeline) -> None:
    async with pipeline.open():
        pass


def open_here(pipeline: Pipeline) -> None:
    with pipeline.open():
        pass


async def start(pipeline: Pipeline) -> None:
    run = pipeline.start([1], Seen())
    await asyncio.wrap_future(run.finished)


WAYS: dict[str, Callable[[Pipeline], object]] = {
    "run": lambda pipeline: pipeline.run([1]),
    "run_async": lambda pipeline: asyncio.run(pipeline.run_async([1])),
    "start": lambda pipeline: asyncio.run(start(pipeline)),
    "stream": lambda pipeline: asyncio.run(stream(pipeline)),
    "open": open_here,
    "open_async": lambda pipeline: asyncio.run(open_async(pipeline)),
}
STEPS = {
    "second executor": f"{__name__}._Engine.missing",
    "store's engine": "rxpipe.store.schema.database.Database.first",
    "lock": "rxpipe.store.schema.database.Database.lock",
    "migration": "rxpipe.store.older_workers.migrate",
    "table": "rxpipe.database.writer.Writer.open",
    "registered": "rxpipe.store.items.lease.Lease.register",
    "before": "rxpipe.store.store.Before.of",
    "heartbeat": "rxpipe.store.items.lease.Lease.start",
    "session": "rxpipe.store.store.Session",
    "ports": "rxpipe.store.store.RunPorts",
    "budget": "rxpipe.pipeline.start.compose",
    "run": "rxpipe.pipeline.start.Run",
    "take": "rxpipe.store.session.Session.take",
    "intake": "rxpipe.pipeline.run.run.Intake",
    "exit": "rxpipe.pipeline.run.run.Exit",
    "write": "rxpipe.store.session.Session.write",
    "subscribed": "rxpipe.pipeline.run.run.Disposable",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_stays_open(tmp_path: Path) -> Iterator[None]:
    yield
    until(lambda: not [thread.name for thread in threading.enumerate() if thread.name in LASTING])
    assert Engines.open == 0
    assert not BACKGROUND_LOOP.users


def the_store_is_free(folder: Path) -> bool:
    """Nobody is at work in it, and the next run can begin."""
    with closing(sqlite3.connect(folder / "bank.db")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
        if "rxpipe_workers" in tables:
            assert not list(connection.execute("SELECT pid FROM rxpipe_workers WHERE ended_at IS NULL"))
    with prepare(pipeline_in(folder)) as ports:
        return ports.number == 1


@pytest.mark.parametrize("step", STEPS)
def test_what_was_opened_is_closed_when_a_later_step_fails(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever step; and then the next run starts as if nothing had happened."""
    pipeline = pipeline_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(STEPS[step], fail)
        with pytest.raises(Failure):
            pipeline.start([1], Seen())
    assert the_store_is_free(tmp_path)


def test_what_failed_to_open_opens_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing had happened."""
    with monkeypatch.context() as patch:
        patch.setattr("rxpipe.pipeline.start.Run", fail)
        for _ in range(3):
            with pytest.raises(Failure):
                pipeline_in(tmp_path).start([1, 2])
    report = pipeline_in(tmp_path).run([1, 2])
    assert (report.written, report.finished, report.run) == (2, True, 1)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(
    ("way", "step"), [*((way, "exit") for way in WAYS), ("open", "tell"), ("open_async", "tell"), ("run", "heartbeat")]
)
def test_it_is_closed_however_the_run_is_started(
    step: str, way: str, scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every way to start one, on both schedulers."""
    steps = {**STEPS, "tell": "rxpipe.store.session.Session.tell"}
    failing = type("Failing", (Exception,), {})

    def fail_mildly(*arguments: Any, **options: Any) -> Any:
        raise failing

    pipeline = pipeline_in(tmp_path, scheduler)
    with monkeypatch.context() as patch:
        patch.setattr(steps[step], fail_mildly)
        with pytest.raises(failing):
            WAYS[way](pipeline)
    assert the_store_is_free(tmp_path)


@pytest.mark.parametrize("durable", [True, False])
def test_what_whoever_is_told_of_the_start_raises_ends_the_run_and_closes_all(durable: bool, tmp_path: Path) -> None:
    """Such as a view in the terminal."""
    pipeline = pipeline_in(tmp_path, durable=durable)
    with pytest.raises(Failure):
        run_blocking(pipeline, [1], started=fail)
    until(lambda: "rxpipe-release" not in {thread.name for thread in threading.enumerate()})
    assert the_store_is_free(tmp_path)


def test_handlers_of_signals_that_cannot_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is closed."""
    with monkeypatch.context() as patch:
        patch.setattr("rxpipe.pipeline.blocking.signal.signal", fail)
        with pytest.raises(Failure):
            pipeline_in(tmp_path).run([1])
    assert the_store_is_free(tmp_path)


class ClosingSink(ListSink):
    """Counts how often it is open."""

    is_open = 0

    def open(self) -> Write:
        self.is_open += 1

        def write(outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
            def close() -> None:
                self.is_open -= 1

            return outcomes.pipe(rx_ops.finally_action(close))

        return write


def test_a_sink_that_was_opened_for_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a sequence without outcomes."""
    sink = ClosingSink()
    pipeline = Pipeline(Stage("a", same), sink=sink)
    with monkeypatch.context() as patch:
        patch.setattr("rxpipe.pipeline.start.Run", fail)
        with pytest.raises(Failure):
            pipeline.start([1])
    assert sink.is_open == 0
    with prepare(pipeline):
        assert sink.is_open == 1
    assert sink.is_open == 0
    assert pipeline.run([1]).written == 1
    assert sink.is_open == 0


class LateSink(ListSink):
    """Notes whether the run was already over when it is closed, and may raise then."""

    run: Run
    over: bool | None = None
    error: BaseException | None = None

    def open(self) -> Write:
        def close() -> None:
            self.over = self.run.finished.done()
            if self.error is not None:
                raise self.error

        return lambda outcomes: outcomes.pipe(rx_ops.finally_action(close))


@pytest.fixture
def late_sink(monkeypatch: pytest.MonkeyPatch) -> LateSink:
    """A sink that knows its run."""
    sink = LateSink()
    subscribe = Run.start

    def start(run: Run, *arguments: Any, **options: Any) -> None:
        sink.run = run
        subscribe(run, *arguments, **options)

    monkeypatch.setattr(Run, "start", start)
    return sink


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("ids", [[1], []])
def test_a_sink_is_closed_before_the_run_is_over(scheduler: Scheduler, ids: list[int], late_sink: LateSink) -> None:
    """Whoever waits for the run finds the sink closed."""
    assert Pipeline(Stage("a", same), sink=late_sink, scheduler=scheduler).run(ids).written == len(ids)
    assert late_sink.over is False


def test_a_run_that_ends_while_it_is_started_has_a_closed_sink(late_sink: LateSink) -> None:
    """An empty source ends before there is a subscription to dispose of."""
    run = Pipeline(Stage("a", same), sink=late_sink).start(reactivex.empty())
    assert run.finished.result(20).taken == 0
    assert late_sink.over is False


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("error", [ValueError("closing"), SystemExit("closing")])
def test_a_sink_that_cannot_be_closed_does_not_hold_up_the_run(
    scheduler: Scheduler, error: BaseException, late_sink: LateSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its error is shown."""
    shown: list[BaseException | None] = []

    def show(arguments: threading.ExceptHookArgs) -> None:
        shown.append(arguments.exc_value)

    monkeypatch.setattr(threading, "excepthook", show)
    late_sink.error = error
    assert Pipeline(Stage("a", same), sink=late_sink, scheduler=scheduler).run([1]).written == 1
    assert shown == [error]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_stream_that_is_never_begun_opens_nothing(scheduler: Scheduler, tmp_path: Path) -> None:
    """And one that is closed before its first outcome closes what it has opened."""

    async def main() -> None:
        outcomes = pipeline_in(tmp_path, scheduler).stream([1])
        await outcomes.aclose()

    asyncio.run(main())
    assert the_store_is_free(tmp_path)


@pytest.mark.parametrize("error", [SystemExit("source"), KeyboardInterrupt("source"), ValueError("source")])
def test_a_source_that_raises_when_it_is_subscribed_to_fails_the_run(error: BaseException, tmp_path: Path) -> None:
    """Whatever it raises; and the run has a report."""

    class Source(Observable[Any]):
        def _subscribe_core(self, observer: Any, scheduler: Any = None) -> Any:
            raise error

    for durable in (True, False):
        run = pipeline_in(tmp_path, durable=durable).start(Source(), Seen())
        failure = run.finished.exception(20)
        assert error in (failure, getattr(failure, "__cause__", None))
    assert the_store_is_free(tmp_path)


def test_ctrl_c_while_a_pipeline_for_an_event_loop_is_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends when it is open, and its loop after it."""
    is_opening, may_go_on = threading.Event(), threading.Event()

    def slowly(*arguments: Any, **options: Any) -> Any:
        is_opening.set()
        assert may_go_on.wait(20)
        return prepare(*arguments, **options)

    class Interrupted:
        """Stands for the thread that waits, where Ctrl-C comes."""

        def __init__(self, opening: Any) -> None:
            self._opening = opening

        def result(self) -> None:
            assert is_opening.wait(20)
            raise KeyboardInterrupt

        def __getattr__(self, name: str) -> Any:
            return getattr(self._opening, name)

    submit = asyncio.run_coroutine_threadsafe

    def submit_interrupted(coroutine: Any, loop: asyncio.AbstractEventLoop) -> Any:
        return Interrupted(submit(coroutine, loop))

    with monkeypatch.context() as patch:
        patch.setattr("rxpipe.pipeline.blocking.prepare", slowly)
        patch.setattr(asyncio, "run_coroutine_threadsafe", submit_interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_here(pipeline_in(tmp_path, "asyncio"))
        may_go_on.set()
        until(lambda: not BACKGROUND_LOOP.users)
    assert the_store_is_free(tmp_path)
