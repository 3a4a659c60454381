"""Stages on a Dask cluster of two worker processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types
import pytest
from pipeline_helpers import Ids, ListSink, Seen, counts, finish, until

from rxpipe import AdaptiveConcurrency, ConfigError, DatabaseSink, Pipeline, Retry, Stage, from_iterable
from rxpipe import operators as ops
from rxpipe.executors import CallKilled, DaskCluster

from .executor_helpers import a_cluster, rows, workers
from .executor_stages import (
    at,
    block,
    coroutine,
    die,
    die_once,
    fail,
    ledger,
    meet,
    most_at_once,
    noted_square,
    square,
    use,
)

pytest.importorskip("distributed")
slow = pytest.mark.slow  # so is a cluster, to start and to answer


@slow
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_one_stage_on_a_cluster(cluster: str, scheduler: Any) -> None:
    """Beside stages on threads and on the event loop; a lambda will do, as may not for a process pool."""

    async def double(value: int) -> int:
        return 2 * value

    sink = ListSink()
    stages: tuple[Stage, ...] = (
        Stage("here", square),
        Stage("there", lambda value: (value, os.getpid()), concurrency=4, executor=DaskCluster(cluster)),
        Stage("loop", lambda pair: pair),
        Stage("double", at(first)),
        Stage("loop too", double),
    )
    report = Pipeline(*stages, sink=sink, scheduler=scheduler).run(range(20))
    assert counts(report) == (20, 20, 0, 0)
    assert sorted(row.value for row in sink.rows) == [2 * n * n for n in range(20)]


def first(pair: tuple[int, int]) -> int:
    assert pair[1] != os.getpid()
    return pair[0]


@slow
def test_calls_are_bounded_and_spread(cluster: str, folder: Path) -> None:
    """Two calls that wait for each other meet on the two workers; the cluster never has more than the slots."""
    there = DaskCluster(cluster)
    seen = Seen()
    finish(
        Pipeline(Stage("meet", at(meet, folder=folder, others=2), concurrency=2, executor=there)).start(range(20), seen)
    )
    assert len({outcome.value for outcome in seen.outcomes}) == 2
    assert most_at_once(ledger(folder)) == 2
    (folder / "ledger").unlink()
    finish(Pipeline(Stage("one", at(noted_square, folder=folder), concurrency=1, executor=there)).start(range(20)))
    assert most_at_once(ledger(folder)) == 1


@slow
def test_a_worker_killed_in_mid_run(cluster: str, folder: Path) -> None:
    """Every row is written, once, though one of the two workers is killed in the midst of a call."""
    sink = DatabaseSink(f"sqlite:///{folder}/bank.db")
    stage = Stage("block", at(block, folder=folder, at=7), concurrency=4, timeout=60, executor=DaskCluster(cluster))
    run = Pipeline(stage, sink=sink).start(range(40))
    until(lambda: any(line[1] == "7" for line in ledger(folder)))
    (victim,) = [int(line[2]) for line in ledger(folder) if line[1] == "7"]
    os.kill(victim, signal.SIGKILL)
    (folder / "go").touch()
    report = finish(run)
    assert counts(report) == (40, 40, 0, 0)
    assert report.stages[0].retried == 0
    assert rows(folder / "bank.db") == list(range(40))


@slow
def test_a_call_that_kills_its_worker_each_time_fails_alone() -> None:
    """Its item fails with a clear error; others, of which workers died as well, are written in one attempt each."""
    seen = Seen()
    with a_cluster(2) as (_, address):  # of its own, so that no other test meets workers that are being started again
        stage = Stage("die", at(die, at=3), concurrency=4, executor=DaskCluster(address))
        assert counts(finish(Pipeline(stage).start(range(12), seen))) == (12, 11, 1, 0)
    (failed,) = [outcome for outcome in seen.outcomes if outcome.status == "failed"]
    assert isinstance(failed.error, CallKilled)
    assert str(failed.error) == "2 workers of the Dask cluster died while it ran"
    assert failed.id == 3
    assert {outcome.attempts for outcome in seen.outcomes} == {1}


@slow
def test_calls_that_time_out(cluster: str, folder: Path) -> None:
    """One that runs is abandoned, and its worker left alone until it returns; the others are written."""
    seen = Seen()
    stage = Stage("block", at(block, folder=folder, at=0), concurrency=2, timeout=1, executor=DaskCluster(cluster))
    run = Pipeline(stage).start(range(6), seen)
    report = finish(run)
    assert (counts(report), report.stages[0].abandoned) == ((6, 5, 1, 0), 1)
    assert seen.statuses[0] == "failed"
    assert Counter(line[1] for line in ledger(folder)) == Counter(map(str, range(6)))
    (folder / "go").touch()


@slow
def test_time_in_the_clusters_queue_does_not_count(cluster: str, folder: Path) -> None:
    """Of calls that wait there for others none times out before it has begun."""
    stage = Stage("wait", late, concurrency=18, timeout=3, executor=DaskCluster(cluster))
    report = finish(Pipeline(stage).start(range(18)))
    assert counts(report) == (18, 18, 0, 0)
    assert report.seconds > 3


def late(value: int) -> None:
    time.sleep(0.4)  # not to wait for something: it is the work


@slow
def test_an_aborted_run_takes_its_calls_back(cluster: str, folder: Path) -> None:
    """Those that wait in the cluster never begin, but for the next of each worker; and the run is over at once."""
    stage = Stage("block", at(block_all, folder=folder), concurrency=20, executor=DaskCluster(cluster))
    run = Pipeline(stage).start(range(100))
    until(lambda: len(ledger(folder)) == 2)
    run.abort()
    report = finish(run)
    assert report.cancelled == report.taken
    until(lambda: tasks_of(cluster) == 0)
    (folder / "go").touch()
    assert Pipeline(Stage("a", square, executor=DaskCluster(cluster))).run(range(4)).written == 4
    assert len(ledger(folder)) <= 4  # a worker may be told after it has begun the next


def tasks_of(cluster: str) -> int:
    """How many tasks its scheduler knows: what is taken back reaches it later than the run ends."""

    def count(dask_scheduler: Any) -> int:
        return len(dask_scheduler.tasks)

    client: Any = import_module("distributed").Client(cluster, set_as_default=False)
    with client:
        return int(client.run_on_scheduler(count))


def block_all(value: int, folder: Path) -> int:
    return block(value, folder, value)


@slow
def test_what_a_call_may_ask_and_tell(cluster: str) -> None:
    """Its deadline is known there, and what it used is counted here."""
    seen = Seen()
    report = finish(Pipeline(Stage("use", use, timeout=60, executor=DaskCluster(cluster))).start(range(1, 4), seen))
    assert (report.usage.completion_tokens, report.usage.cost) == (6, 1.5)
    assert all(50 < outcome.value <= 60 for outcome in seen.outcomes)


@slow
def test_errors_come_back(cluster: str) -> None:
    """As they are if they pickle, else described; a result that does not pickle fails its item only."""
    seen = Seen()
    finish(
        Pipeline(Stage("fail", fail, executor=DaskCluster(cluster))).start(["plain", "secret", "exit", "result"], seen)
    )
    errors = {outcome.id: f"{type(outcome.error).__name__}: {outcome.error}" for outcome in seen.outcomes}
    assert errors.pop("result").startswith("CallFailed: what it returned does not pickle: TypeError: ")
    assert errors == {
        "plain": "ValueError: plain",
        "secret": "CallFailed: Unpicklable: secret",
        "exit": "SystemExit: 4",
    }


@slow
def test_equal_calls_are_different_calls(cluster: str, folder: Path) -> None:
    """Dask would make one of them, and make a failed one no second time, if they were pure."""
    stage = Stage("same", at(noted_square, folder=folder), concurrency=4, executor=DaskCluster(cluster))
    Pipeline(Stage("constant", lambda _: 7), stage).run(range(10))
    assert len(ledger(folder)) == 20
    retried = Stage("f", fail, executor=DaskCluster(cluster), retry=Retry(max_attempts=3, initial=0, jitter=0))
    assert finish(Pipeline(retried).start(["plain"])).stages[0].retried == 2


@slow
def test_a_cluster_of_this_machine(folder: Path) -> None:
    """It is started for the run, with a worker that dies and returns, and ended after it."""
    there = DaskCluster(workers=1)
    stage = Stage("die", at(die_once, folder=folder, at=2), executor=there)
    assert stage.concurrency == 1
    assert counts(Pipeline(stage).run(range(4))) == (4, 4, 0, 0)
    assert len({line[2] for line in ledger(folder)}) == 2


@slow
def test_a_local_cluster_replaces_workers_that_do_not_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask gives up one that dies while it is being started: the calls get another."""
    from dask import config

    monkeypatch.setattr("rxpipe.executors.dask_engine._WATCHED", 0.1)
    with (
        config.set({"distributed.deploy.lost-worker-timeout": "100ms"}),
        DaskCluster(workers=1).open() as cluster,
    ):
        inside: Any = cluster
        (nanny,) = inside._cluster.workers.values()
        inside._loop.run(nanny.close(), 20)
        assert from_iterable([3]).pipe(ops.stage(square, scheduler=cluster)).run() == 9


@slow
def test_a_local_cluster_that_hangs_is_ended(folder: Path) -> None:
    """An aborted run does not wait for its workers."""
    before = workers()
    run = Pipeline(Stage("block", at(block, folder=folder, at=0), executor=DaskCluster(workers=1))).start(range(9))
    until(lambda: len(ledger(folder)) == 1)
    called = psutil.Process(int(ledger(folder)[0][2]))
    assert called.is_running()
    run.abort()
    finish(run)
    assert workers() == before


@slow
def test_in_plain_rx(cluster: str) -> None:
    """`ops.stage` connects for a subscription."""
    chain = from_iterable(range(5)).pipe(ops.stage(square, concurrency=2, scheduler=DaskCluster(cluster)), ops.batch(5))
    assert sorted(chain.run()) == [0, 1, 4, 9, 16]


@slow
def test_on_a_running_loop(cluster: str) -> None:
    """Connecting and closing do not hold up the loop."""

    async def main() -> None:
        pipeline = Pipeline(Stage("a", square, executor=DaskCluster(cluster)), scheduler="asyncio")
        assert (await pipeline.run_async(range(10))).written == 10

    asyncio.run(main())


@slow
def test_no_scheduler() -> None:
    """One that is not there is one clear error, before an ID is taken."""
    ids = Ids(5)
    there = DaskCluster("tcp://127.0.0.1:9", timeout=0.3)
    with pytest.raises(
        ConfigError, match=r"stage a: the Dask cluster tcp://127.0.0.1:9 cannot be used: OSError: Timed"
    ):
        Pipeline(Stage("a", square, executor=there)).run(ids)
    assert ids.given == 0


@slow
def test_a_module_that_is_not_there(cluster: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Is one clear error, before an ID is taken; a module that is sent first is there."""
    module = ModuleType("made_up")
    code = "def double(value):\n    return 2 * value"
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "made_up", module)
    ids, double = Ids(5), module.__dict__["double"]
    with pytest.raises(ConfigError) as raised:
        Pipeline(Stage("doubling", double, executor=DaskCluster(cluster))).run(ids)
    assert str(raised.value) == (
        "stage doubling: a worker of the Dask cluster cannot import its function made_up:double: "
        "ModuleNotFoundError: No module named 'made_up'"
    )
    assert ids.given == 0
    (folder / "made_up.py").write_text(code)
    sent = DaskCluster(cluster, upload=(str(folder / "made_up.py"),))
    assert Pipeline(Stage("doubling", double, executor=sent)).run(ids).written == 5


def test_functions_that_cannot_run_there_are_refused() -> None:
    """By stage and name, when the stage is made."""
    there, lock = DaskCluster("tcp://nowhere:1"), sys.stdout
    with pytest.raises(
        TypeError, match=r"stage a: executors.test_dask:test_functions\w+\.<locals>\.<lambda> cannot be sent to a"
    ):
        Stage("a", lambda value: (value, lock), executor=there)
    with pytest.raises(
        TypeError, match=r"stage a: executors\.executor_stages:coroutine is a coroutine function, which cannot run"
    ):
        Stage("a", coroutine, executor=there)
    with pytest.raises(ValueError, match=r"stage a: concurrency must be a number beside DaskCluster\(address='tcp"):
        Stage("a", square, executor=there, concurrency=AdaptiveConcurrency())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"address": "scheduler:8786"}, "address must be like tcp://host:8786, not 'scheduler:8786'"),
        ({"address": ""}, "address must be like"),
        ({"workers": 0}, "workers must be a whole number of at least 1, not 0"),
        ({"workers": True}, "workers must be a whole number"),
        ({"address": "tcp://a:1", "workers": 2}, "workers are started on this machine only: not beside an address"),
        ({"timeout": 0}, "timeout must be above 0"),
    ],
)
def test_clusters_that_are_refused(options: dict[str, Any], text: str) -> None:
    """What no cluster can be made of is refused at once."""
    with pytest.raises(ValueError, match=text):
        DaskCluster(**options)


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing extra is named."""

    def nothing(name: str) -> None:
        """No module is found."""

    monkeypatch.setattr("rxpipe.executors.dask_settings.find_spec", nothing)
    with pytest.raises(ConfigError, match='Dask needs the extra dask: pip install "distributed>='):
        DaskCluster()


def test_what_was_opened_of_a_cluster_is_closed_if_the_last_step_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client, and the thread that its loop runs on."""
    closed: list[str] = []

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None:
            """It connects to nothing."""

        def subscribe_topic(self, *_: Any) -> None:
            raise OSError("gone")

        def close(self) -> None:
            closed.append("client")

    monkeypatch.setattr("rxpipe.executors.dask_engine.Client", Client)
    with pytest.raises(ConfigError, match="cannot be used: OSError: gone"):
        DaskCluster("tcp://127.0.0.1:1").open()
    assert closed == ["client"]
    assert not [thread for thread in threading.enumerate() if thread.name == "rxpipe-dask"]
