from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, SCHEDULERS, WAYS, Block, ListSink, Seen, SlowSink, counts, same

from rxpipe import Pipeline, Stage
from rxpipe.driving import drive
from rxpipe.pipeline import Scheduler
from rxpipe.run import Run
from rxpipe.strategies import Strategy


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
        drive(pipeline, itertools.count(), started=runs.append, interrupted=interrupted)
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
        drive(pipeline, itertools.count(), started=runs.append, interrupted=interrupted)
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
        drive(
            Pipeline(Stage("s", same), sink=sink, scheduler=scheduler),
            [1],
            started=runs.append,
            interrupted=lambda _, count: told[count - 1].set(),
        )
    assert not runs[0].finished.done()
    sink.may_go_on.set()
    if scheduler == "threads":  # else its loop is closed
        assert counts(runs[0].finished.result(LIMIT)) == (1, 1, 0, 0)


def test_ctrl_c_before_anything_was_taken_ends_the_run() -> None:
    """It has nothing to finish."""
    runs: list[Run] = []

    def started(run: Run) -> None:
        runs.append(run)
        press_ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        drive(Pipeline(Stage("s", same)), reactivex.never(), started=started)
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
        drive(Pipeline(Stage("s", call)), [1], interrupted=interrupted, signals=signals)
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
        drive(Pipeline(Stage("s", same), scheduler=scheduler), itertools.count(), started=started)
    assert runs[0].finished.cancelled()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_observer_is_told_of_every_outcome(scheduler: Scheduler) -> None:
    """It may come with the run."""
    seen = Seen()
    drive(Pipeline(Stage("s", same), scheduler=scheduler), range(5), observer=seen)
    assert sorted(seen.ids) == list(range(5))
    assert seen.completed


# In a process of its own

SCRIPT = """
import signal, sys, threading
from rxpipe import DatabaseSink, Pipeline, Stage
from rxpipe.driving import drive

scheduler, database, hangs = sys.argv[1:]
may_return = threading.Event()
signal.signal(signal.SIGINT, signal.default_int_handler)

def tell(text):
    sys.stdout.write(text + "\\n")  # at once: two threads do it
    sys.stdout.flush()

def call(value):
    tell(f"called {value}")
    assert may_return.wait(60)
    return value

class Hangs:
    def open(self):
        from reactivex import operators
        return operators.do_action(lambda outcome: self.hang())

    def hang(self):
        while True:
            tell("sink hangs")
            threading.Event().wait(0.01)

def listen():
    for line in sys.stdin:
        may_return.set()

threading.Thread(target=listen, daemon=True).start()
sink = Hangs() if hangs == "hangs" else DatabaseSink(f"sqlite:///{database}")
pipeline = Pipeline(Stage("s", call, concurrency=2, queue_size=0), sink=sink, scheduler=scheduler)
runs = []
try:
    drive(pipeline, range(100), started=runs.append, interrupted=lambda _, count: tell(f"signal {count}"))
except KeyboardInterrupt:
    run = runs[0]
    tell(f"interrupted {run.taken} {run.written} {run.failed} {run.cancelled}")
"""


class Process:
    """The script, and what it says."""

    def __init__(self, scheduler: str, database: Path, hangs: str = "") -> None:
        arguments = [sys.executable, "-c", SCRIPT, scheduler, str(database), hangs]
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_for(self, line: str) -> None:
        out: IO[str] | None = self._process.stdout
        assert out is not None
        for said in out:
            if said.strip().startswith(line):
                return
        raise AssertionError(f"it never said {line}")

    def says_next(self) -> str:
        out: IO[str] | None = self._process.stdout
        assert out is not None
        return next((line for line in out if line.startswith(("sink hangs", "interrupted"))), "")

    def press_ctrl_c(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def let_calls_return(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        code = self._process.wait(LIMIT)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        assert code == 0


def rows_in(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [status for (status,) in connection.execute("SELECT status FROM questions")]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_in_a_process_the_first_ctrl_c_drains(tmp_path: Path, scheduler: str) -> None:
    """What was taken is written."""
    with Process(scheduler, tmp_path / "x.db") as process:
        process.wait_for("called 1")
        process.press_ctrl_c()
        process.wait_for("signal 1")
        process.let_calls_return()
        process.wait_for("interrupted 2 2 0 0")
    assert rows_in(tmp_path / "x.db") == ["written", "written"]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_in_a_process_the_second_ctrl_c_cancels(tmp_path: Path, scheduler: str) -> None:
    """It ends though calls hang on threads."""
    with Process(scheduler, tmp_path / "x.db") as process:
        process.wait_for("called 1")
        for count in (1, 2):
            process.press_ctrl_c()
            process.wait_for(f"signal {count}")
        process.wait_for("interrupted 2 0 0 2")
    assert rows_in(tmp_path / "x.db") == []


@pytest.mark.slow
def test_in_a_process_the_third_ctrl_c_gives_up_on_threads(tmp_path: Path) -> None:
    """Though the sink hangs, on its own thread."""
    with Process("threads", tmp_path / "x.db", "hangs") as process:
        process.wait_for("called 1")
        process.let_calls_return()
        process.wait_for("sink hangs")
        for count in (1, 2):
            process.press_ctrl_c()
            process.wait_for(f"signal {count}")
        process.press_ctrl_c()
        process.wait_for("interrupted")


@pytest.mark.slow
def test_in_a_process_the_third_ctrl_c_gives_up_on_asyncio(tmp_path: Path) -> None:
    """Though the sink hangs, on the event loop itself, which then cannot say that a signal came."""
    with Process("asyncio", tmp_path / "x.db", "hangs") as process:
        process.wait_for("called 1")
        process.let_calls_return()
        # Two signals that come at once count as one: so each only while the loop hangs after the one before.
        said = "sink hangs"
        while said.startswith("sink hangs"):
            process.press_ctrl_c()
            process.says_next()
            said = process.says_next()
