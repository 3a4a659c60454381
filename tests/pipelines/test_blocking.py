from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, SCHEDULERS, WAYS, Block, ListSink, Seen, SlowSink, counts, same
from reactivex.disposable import Disposable

from rxpipe import Pipeline, Stage
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.strategies import Strategy


def press_ctrl_c(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _signals_work() -> Iterator[None]:
    """Also where the tests run in the background, and ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_event_loop_must_not_be_blocked(scheduler: Scheduler) -> None:
    """The error says what to do instead."""
    sink = ListSink()

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"await run_async\(\) instead"):
            Pipeline(Stage("s", same), sink=sink, scheduler=scheduler).run([1])

    asyncio.run(main())
    assert sink.opened == 0


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_it_runs_on_any_thread(scheduler: Scheduler) -> None:
    """Signals are for the main one."""
    reports: list[Any] = []
    thread = threading.Thread(
        target=lambda: reports.append(Pipeline(Stage("s", same), scheduler=scheduler).run(range(5)))
    )
    thread.start()
    thread.join(LIMIT)
    assert counts(reports[0]) == (5, 5, 0, 0)


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_the_first_ctrl_c_lets_items_finish(strategy: Strategy, scheduler: Scheduler) -> None:
    """Then ``KeyboardInterrupt`` is raised, and handlers are as they were."""
    sink = ListSink()
    told: list[tuple[int, int]] = []
    pressed = threading.Event()

    def call(value: int) -> int:
        if value == 5:
            press_ctrl_c()
            assert pressed.wait(LIMIT)
        return value

    def interrupted(number: signal.Signals, count: int) -> None:
        told.append((number, count))
        pressed.set()

    runs: list[Run] = []
    before = signal.getsignal(signal.SIGINT)
    pipeline = Pipeline(Stage("s", call), Stage("t", same), sink=sink, strategy=strategy, scheduler=scheduler)
    with pytest.raises(KeyboardInterrupt):
        run_blocking(pipeline, itertools.count(), started=runs.append, interrupted=interrupted)
    assert runs[0].taken == runs[0].written == len(sink.rows) > 5
    assert told == [(signal.SIGINT, 1)]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_the_second_ctrl_c_cancels_them(strategy: Strategy, scheduler: Scheduler) -> None:
    """Though a function hangs."""
    block = Block()
    told: list[int] = []

    def call(value: int) -> int:
        if value == 2:
            press_ctrl_c()
        return int(block(value))

    def interrupted(number: signal.Signals, count: int) -> None:
        told.append(count)
        if count == 1:
            press_ctrl_c()

    runs: list[Run] = []
    pipeline = Pipeline(Stage("s", call), Stage("t", same), strategy=strategy, scheduler=scheduler)
    with pytest.raises(KeyboardInterrupt):
        run_blocking(pipeline, itertools.count(), started=runs.append, interrupted=interrupted)
    block.may_return.set()
    assert runs[0].taken == runs[0].cancelled >= 3
    assert told == [1, 2]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_third_ctrl_c_gives_up_waiting(scheduler: Scheduler) -> None:
    """As where the sink hangs."""
    told = [threading.Event() for _ in range(2)]
    runs: list[Run] = []

    class Hangs(SlowSink):
        def _wait(self, outcome: Any) -> Any:
            for event in told:
                press_ctrl_c()
                assert event.wait(LIMIT)
            press_ctrl_c()
            return super()._wait(outcome)

    sink = Hangs()
    with pytest.raises(KeyboardInterrupt):
        run_blocking(
            Pipeline(Stage("s", same), sink=sink, scheduler=scheduler),
            [1],
            started=runs.append,
            interrupted=lambda _, count: told[count - 1].set(),
        )
    assert not runs[0].finished.done()
    sink.may_go_on.set()
    if scheduler == "threads":  # else its loop is closed
        assert counts(runs[0].finished.result(LIMIT)) == (1, 1, 0, 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is shown where it came
def test_a_third_ctrl_c_counts_wherever_it_comes() -> None:
    """Also while a source is let go of, where whatever is raised is kept from the run."""

    class Hangs(SlowSink):
        def _wait(self, outcome: Any) -> Any:
            press_ctrl_c()
            return super()._wait(outcome)

    def source(observer: Any, scheduler: Any = None) -> Disposable:
        observer.on_next(1)

        def let_go() -> None:
            if threading.current_thread() is threading.main_thread():
                press_ctrl_c()
                press_ctrl_c()

        return Disposable(let_go)

    sink = Hangs()
    runs: list[Run] = []
    with pytest.raises(KeyboardInterrupt):
        run_blocking(Pipeline(Stage("s", same), sink=sink), reactivex.create(source), started=runs.append)
    assert not runs[0].finished.done()
    sink.may_go_on.set()


def test_ctrl_c_before_anything_was_taken_ends_the_run() -> None:
    """It has nothing to finish."""
    runs: list[Run] = []

    def started(run: Run) -> None:
        runs.append(run)
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        run_blocking(Pipeline(Stage("s", same)), reactivex.never(), started=started)
    assert counts(runs[0].finished.result(0)) == (0, 0, 0, 0)


def test_ctrl_c_while_the_sink_is_opened_ends_it_at_once() -> None:
    """Nothing has begun."""

    class Opens(ListSink):
        def open(self) -> Any:
            press_ctrl_c()
            threading.Event().wait(LIMIT)

    with pytest.raises(KeyboardInterrupt):
        Pipeline(Stage("s", same), sink=Opens()).run([1])


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_an_interrupted_run_failed_with_is_its_cause(scheduler: Scheduler) -> None:
    """It is not lost."""
    sink = ListSink(poison=1)

    def call(value: int) -> int:
        press_ctrl_c()
        return value

    with pytest.raises(KeyboardInterrupt) as caught:
        Pipeline(Stage("s", call), sink=sink, scheduler=scheduler).run([1])
    assert repr(caught.value.__cause__) == "OSError('the list is full')"


def test_other_signals_may_be_taken_notice_of() -> None:
    """As SIGTERM by the command line."""
    block = Block()
    told: list[signal.Signals] = []

    def call(value: int) -> int:
        press_ctrl_c(signal.SIGTERM)
        return int(block(value))

    def interrupted(number: signal.Signals, count: int) -> None:
        told.append(number)
        block.may_return.set()

    signals = signal.SIGINT, signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        run_blocking(Pipeline(Stage("s", call)), [1], interrupted=interrupted, signals=signals)
    assert told == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@contextmanager
def handler(handle: Any) -> Generator[None]:
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_handler_of_somebody_elses_is_kept(scheduler: Scheduler) -> None:
    """A web server has its own way of shutting down."""
    handled = threading.Event()

    def call(value: int) -> int:
        press_ctrl_c()
        assert handled.wait(LIMIT)
        return value

    def handle(number: int, frame: object) -> None:
        handled.set()

    with handler(handle):
        assert counts(Pipeline(Stage("s", call), scheduler=scheduler).run([1])) == (1, 1, 0, 0)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_started_raises_ends_the_run(scheduler: Scheduler) -> None:
    """No run goes on that nobody knows of."""
    runs: list[Run] = []

    def started(run: Run) -> None:
        runs.append(run)
        raise ValueError("started")

    with pytest.raises(ValueError, match="started"):
        run_blocking(Pipeline(Stage("s", same), scheduler=scheduler), itertools.count(), started=started)
    assert runs[0].finished.cancelled()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_observer_is_told_of_every_outcome(scheduler: Scheduler) -> None:
    """It may come with the run."""
    seen = Seen()
    run_blocking(Pipeline(Stage("s", same), scheduler=scheduler), range(5), observer=seen)
    assert sorted(seen.ids) == list(range(5))
    assert seen.completed
