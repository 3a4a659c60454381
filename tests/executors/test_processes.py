"""Stages on worker processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types
import pytest
from pipeline_helpers import Ids, ListSink, Seen, counts, finish, until

from rxpipe import AdaptiveConcurrency, ConfigError, DatabaseSink, Pipeline, Retry, Stage, from_iterable
from rxpipe import operators as ops
from rxpipe.executors import CallKilled, ExecutorLost, Processes, processes

from .executor_helpers import rows, workers
from .executor_stages import (
    LIMIT,
    at,
    block,
    coroutine,
    die,
    die_once,
    double_elsewhere,
    fail,
    ledger,
    meet,
    most_at_once,
    noted_square,
    serve_unless_killed,
    square,
    use,
)

TWO = Processes(2)
slow = pytest.mark.slow  # processes take their time to start


@slow
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_stages_share_the_processes_that_they_name(folder: Path, scheduler: Any) -> None:
    """Two stages on equal settings use two processes between them, besides one on threads."""
    first, second = at(noted_square, folder=folder), at(noted_square, folder=folder)
    pipeline = Pipeline(
        Stage("a", first, executor=Processes(2)),
        Stage("here", lambda value: value + 1),
        Stage("b", second, executor=Processes(2)),
        sink=(sink := ListSink()),
        scheduler=scheduler,
    )
    assert counts(pipeline.run(range(20))) == (20, 20, 0, 0)
    assert sorted(row.value for row in sink.rows) == sorted((n * n + 1) ** 2 for n in range(20))
    processes = {process for *_, process in ledger(folder)}
    assert len(processes) <= 2
    assert str(os.getpid()) not in processes


@slow
def test_calls_are_bounded_and_spread(folder: Path) -> None:
    """Three calls that wait for each other meet on three processes; more never run, whatever the slots."""
    pipeline = Pipeline(Stage("meet", at(meet, folder=folder, others=3), concurrency=6, executor=Processes(3)))
    seen = Seen()
    finish(pipeline.start(range(30), seen))
    assert len({outcome.value for outcome in seen.outcomes}) == 3
    assert most_at_once(ledger(folder)) == 3


@slow
def test_as_many_slots_as_processes_by_default() -> None:
    """Of a stage that does not say; one that does keeps its own."""
    assert Stage("a", square, executor=Processes(7)).concurrency == 7
    assert Stage("a", square, executor=Processes(7), concurrency=2).concurrency == 2


@slow
def test_a_call_whose_process_dies_is_made_again(folder: Path) -> None:
    """At once, without using up an attempt: no item fails, no other call is repeated."""
    seen = Seen()
    pipeline = Pipeline(Stage("die", at(die_once, folder=folder, at=5), executor=TWO))
    assert counts(finish(pipeline.start(range(20), seen))) == (20, 20, 0, 0)
    assert {outcome.attempts for outcome in seen.outcomes} == {1}
    begun = [line[1] for line in ledger(folder) if line[0] == "begin"]
    assert sorted(begun, key=int) == sorted([*map(str, range(20)), "5"], key=int)


@slow
def test_a_call_that_kills_its_process_each_time_fails_alone(folder: Path) -> None:
    """Its item fails with a clear error after its attempts; the others are written in one attempt each."""
    seen = Seen()
    pipeline = Pipeline(Stage("die", at(die, at=5), executor=TWO, retry=Retry(max_attempts=2, initial=0, jitter=0)))
    assert counts(finish(pipeline.start(range(20), seen))) == (20, 19, 1, 0)
    failed = [outcome for outcome in seen.outcomes if outcome.status == "failed"]
    assert isinstance(failed[0].error, CallKilled)
    assert "killed by signal SIGKILL, as by the system when memory runs out, twice" in str(failed[0].error)
    assert (failed[0].id, failed[0].attempts) == (5, 2)
    assert {outcome.attempts for outcome in seen.outcomes if outcome.status == "written"} == {1}


@slow
def test_a_process_killed_from_outside(folder: Path) -> None:
    """Every row is written, once, though one of two processes is killed in the midst of a call."""
    sink = DatabaseSink(f"sqlite:///{folder}/bank.db")
    run = Pipeline(Stage("block", at(block, folder=folder, at=7), executor=TWO), sink=sink).start(range(40))
    until(lambda: any(line[1] == "7" for line in ledger(folder)))
    (victim,) = [int(line[2]) for line in ledger(folder) if line[1] == "7"]
    os.kill(victim, signal.SIGKILL)
    (folder / "go").touch()
    assert counts(finish(run)) == (40, 40, 0, 0)
    assert rows(folder / "bank.db") == list(range(40))


@slow
def test_a_call_that_times_out_is_stopped(folder: Path) -> None:
    """Its process is ended, and another takes its place: the slot is free, the item fails, and nothing is abandoned."""
    seen = Seen()
    pipeline = Pipeline(Stage("block", at(block, folder=folder, at=3), timeout=1, executor=Processes(1)))
    report = finish(pipeline.start(range(6), seen))
    assert counts(report) == (6, 5, 1, 0)
    assert seen.statuses[3] == "failed"
    (hung,) = [int(line[2]) for line in ledger(folder) if line[1] == "3"]
    assert not psutil.pid_exists(hung)
    assert report.stages[0].abandoned == 0


@slow
def test_an_aborted_run_stops_its_calls(folder: Path) -> None:
    """It is over at once, and no process is left of it."""
    run = Pipeline(Stage("block", at(block, folder=folder, at=0), executor=TWO)).start(range(100))
    until(lambda: any(line[1] == "0" for line in ledger(folder)))
    assert workers()
    run.abort()
    report = finish(run)
    assert report.taken == report.written + report.cancelled
    assert not workers()


@slow
def test_a_disposed_run_stops_its_calls(folder: Path) -> None:
    """Disposing of the outcomes ends the processes, too."""
    pipeline = Pipeline(Stage("block", at(block, folder=folder, at=0), executor=TWO))
    subscription = pipeline.outcomes(range(100)).subscribe()
    until(lambda: any(line[1] == "0" for line in ledger(folder)))
    subscription.dispose()
    until(lambda: not workers())


@slow
def test_a_failing_run_closes_its_processes() -> None:
    """Whether the source fails or the sink does."""

    def ids() -> Any:
        yield from range(5)
        raise OSError("no more IDs")

    with pytest.raises(OSError, match="no more IDs"):
        Pipeline(Stage("a", square, executor=TWO)).run(ids())
    assert not workers()
    with pytest.raises(OSError, match="the list is full"):
        Pipeline(Stage("a", square, executor=TWO), sink=ListSink(poison=3)).run(range(5))
    assert not workers()


@slow
def test_in_plain_rx() -> None:
    """`ops.stage` opens settings for a subscription; what is opened by hand serves many, until it is closed."""
    chain = from_iterable(range(5)).pipe(ops.stage(square, concurrency=2, scheduler=TWO))
    done, values = threading.Event(), list[int]()
    chain.subscribe(values.append, print, done.set)
    assert done.wait(LIMIT)
    assert sorted(values) == [0, 1, 4, 9, 16]
    with TWO.open() as pool:
        for _ in range(2):
            assert from_iterable([3]).pipe(ops.stage(square, scheduler=pool)).run() == 9


@slow
def test_what_a_call_may_ask_and_tell() -> None:
    """Its deadline is known there, and what it used is counted here."""
    seen = Seen()
    report = finish(Pipeline(Stage("use", use, timeout=60, executor=TWO)).start(range(1, 4), seen))
    assert report.usage.completion_tokens == 6
    assert report.usage.cost == 1.5
    assert all(50 < outcome.value <= 60 for outcome in seen.outcomes)


@slow
def test_errors_come_back() -> None:
    """As they are if they pickle, else described; a result or a value that does not pickle fails its item only."""
    seen = Seen()
    finish(Pipeline(Stage("fail", fail, executor=TWO)).start(["plain", "secret", "exit", "result"], seen))
    errors = {outcome.id: f"{type(outcome.error).__name__}: {outcome.error}" for outcome in seen.outcomes}
    assert errors.pop("result").startswith("CallFailed: what it returned does not pickle: TypeError: ")
    assert errors == {
        "plain": "ValueError: plain",
        "secret": "CallFailed: Unpicklable: secret",
        "exit": "SystemExit: 4",
    }
    lock: Stage = Stage("lock", lambda _: threading.Lock())
    locks = Pipeline(lock, Stage("a", square, executor=TWO))
    assert counts(locks.run(range(3))) == (3, 0, 3, 0)


def test_functions_that_cannot_run_there_are_refused() -> None:
    """By stage and name, when the stage is made."""

    def local(value: int) -> int:
        return value

    with pytest.raises(TypeError, match=r"stage a: .*<lambda> cannot be sent to a worker process.*use a function of a"):
        Stage("a", lambda value: value, executor=TWO)
    with pytest.raises(
        TypeError, match=r"stage a: executors.test_processes:test_functions\w+\.<locals>\.local cannot be sent"
    ):
        Stage("a", partial(local), executor=TWO)
    with pytest.raises(
        TypeError, match=r"stage a: executors\.executor_stages:coroutine is a coroutine function, which cannot run"
    ):
        Stage("a", coroutine, executor=TWO)
    with pytest.raises(ValueError, match=r"stage a: concurrency must be a number beside Processes\(workers=2"):
        Stage("a", square, executor=TWO, concurrency=AdaptiveConcurrency())


@pytest.mark.parametrize("number", [0, -1, 2.5, True, "2"])
def test_numbers_of_processes_that_are_refused(number: Any) -> None:
    """Anything but a whole number from 1, and `fork`, which threads forbid."""
    with pytest.raises(ValueError, match="workers must be a whole number of at least 1"):
        Processes(number)
    with pytest.raises(ValueError, match="start_method must be one of"):
        Processes(2, start_method="fork")  # type: ignore[arg-type]  # that is the point


@slow
def test_a_module_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is one clear error, before an ID is taken or the sink opened; no process is left."""
    module = ModuleType("made_up")
    exec("def double(value):\n    return 2 * value", module.__dict__)
    monkeypatch.setitem(sys.modules, "made_up", module)
    sink, ids = ListSink(), Ids(5)
    pipeline = Pipeline(Stage("doubling", module.__dict__["double"], executor=TWO), sink=sink)
    with pytest.raises(ConfigError) as raised:
        pipeline.run(ids)
    assert str(raised.value) == (
        "stage doubling: a worker process cannot import its function made_up:double: "
        "ModuleNotFoundError: No module named 'made_up'"
    )
    assert (ids.given, sink.opened) == (0, 0)
    assert not workers()


@slow
def test_processes_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Are one clear error, and no run."""

    class Refusing:
        def __init__(self, method: str) -> None: ...

        def Pipe(self) -> None:
            raise OSError("no more files")

    monkeypatch.setattr("rxpipe.executors.processes.multiprocessing.get_context", Refusing)
    with pytest.raises(ConfigError, match="stage a: no process can be started: OSError: no more files"):
        Pipeline(Stage("a", square, executor=TWO)).run(range(5))


@slow
def test_on_a_running_loop() -> None:
    """Opening and closing do not hold up the loop, nor does cancelling leave anything."""

    async def main() -> None:
        pipeline = Pipeline(Stage("a", square, executor=TWO), scheduler="asyncio")
        report = await pipeline.run_async(range(10))
        assert report.written == 10
        assert not workers()
        outcomes = [outcome.value async for outcome in pipeline.stream(range(3))]
        assert sorted(outcomes) == [0, 1, 4]

    asyncio.run(main())


@slow
def test_an_open_pipeline(folder: Path) -> None:
    """The processes are there for as long as it is open; cancelling a submission ends its call."""
    pipeline = Pipeline(Stage("block", at(block, folder=folder, at=3), executor=TWO))
    with pipeline.open() as running:
        assert running.submit(1).result(LIMIT).value == 1
        hung = running.submit(3)
        until(lambda: any(line[1] == "3" for line in ledger(folder)))
        hung.cancel()
        assert hung.result(LIMIT).status == "cancelled"
        assert running.submit(4).result(LIMIT).value == 4
    assert not workers()


@slow
def test_a_pool_of_yours_serves_many_runs(folder: Path) -> None:
    """One that was opened by hand stays open after a run."""
    with Processes(1).open() as pool:
        pipeline = Pipeline(Stage("a", at(noted_square, folder=folder), executor=pool))
        assert [pipeline.run(range(3)).written for _ in range(2)] == [3, 3]
    assert len({line[2] for line in ledger(folder)}) == 1
    assert counts(pipeline.run(range(2))) == (2, 0, 2, 0)  # it is closed


@slow
def test_a_function_may_start_processes() -> None:
    """Of its own, as it might on a thread."""
    assert Pipeline(Stage("double", double_elsewhere, executor=Processes(1))).run([3]).written == 1


@slow
@pytest.mark.parametrize("sound", [0, 1])
def test_processes_that_are_killed_while_they_start(folder: Path, sound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are started, whether or not one had started well; nothing fails."""
    monkeypatch.setattr(processes, "serve", partial(serve_unless_killed, folder, sound, 2))
    monkeypatch.setattr(processes, "_PAUSES", (0.0,) * 5)
    pipeline = Pipeline(Stage("a", square, concurrency=2, executor=TWO))
    assert counts(pipeline.run(range(20))) == (20, 20, 0, 0)
    assert len([line for line in ledger(folder) if line == ["start"]]) >= 3


@slow
def test_no_process_starts_any_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some tries the run stops, and says what happened; a main part has nothing to do with it."""
    monkeypatch.setattr(processes, "serve", partial(serve_unless_killed, folder, 1, 1000))
    monkeypatch.setattr(processes, "_PAUSES", (0.0,) * 2)
    stage: Stage = Stage("a", os._exit, concurrency=1, executor=Processes(1))
    run = Pipeline(stage).start([1, 2], Seen())
    with pytest.raises(ExecutorLost, match=r"killed by signal SIGKILL.* before its first call$"):
        finish(run)
    assert len(ledger(folder)) == 4


@slow
def test_what_starts_processes_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started again, as are they."""
    failures = [OSError("no room")] * 2
    context: Any = multiprocessing.get_context("forkserver")
    start = context.Process.start

    def fail_at_first(process: Any) -> None:
        if failures:
            raise failures.pop()
        start(process)

    monkeypatch.setattr(context.Process, "start", fail_at_first)
    monkeypatch.setattr(processes, "_PAUSES", (0.0,) * 5)
    assert Pipeline(Stage("a", square, executor=Processes(1))).run(range(3)).written == 3
