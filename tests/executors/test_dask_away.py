"""Dask clusters whose scheduler goes away, and those without workers."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_helpers import Seen, counts, finish, until
from structlog.testing import capture_logs

from rxpipe import ConfigError, Pipeline, Stage
from rxpipe.executors import DaskCluster, ExecutorLost

from .executor_helpers import a_cluster
from .executor_stages import at, block, ledger, square

pytestmark = pytest.mark.slow  # each starts a cluster


def test_a_scheduler_that_does_not_return(folder: Path) -> None:
    """The run stops with one clear error; the items on their way are given back, not failed."""
    with a_cluster(1) as (process, address):
        stage = Stage("block", at(block, folder=folder, at=3), concurrency=2, executor=DaskCluster(address, timeout=4))
        seen = Seen()
        run = Pipeline(stage).start(range(100), seen)
        until(lambda: any(line[1] == "3" for line in ledger(folder)))
        process.kill()
        with pytest.raises(ExecutorLost, match="the scheduler of the Dask cluster has been away for 4 s"):
            finish(run)
    assert run.taken == run.written + run.cancelled
    assert not run.failed
    assert run.taken < 100


def test_a_scheduler_that_returns(folder: Path) -> None:
    """Calls wait for it, and are made again: every item is written."""
    with a_cluster(1) as (process, address):
        stage = Stage("block", at(block, folder=folder, at=3), concurrency=2, executor=DaskCluster(address, timeout=20))
        with capture_logs() as logs:
            run = Pipeline(stage).start(range(20))
            until(lambda: any(line[1] == "3" for line in ledger(folder)))
            process.kill()
            process.wait()
            (folder / "go").touch()
            with a_cluster(1, int(address.rpartition(":")[2])):
                assert counts(finish(run)) == (20, 20, 0, 0)
        assert [log["event"] for log in logs] == ["the connection to the Dask scheduler was lost"]


def test_an_aborted_run_does_not_wait_for_a_scheduler(folder: Path) -> None:
    """It is over though the scheduler might still return."""
    with a_cluster(1) as (process, address), capture_logs() as logs:
        stage = Stage("block", at(block, folder=folder, at=0), executor=DaskCluster(address, timeout=3600))
        run = Pipeline(stage).start(range(20))
        until(lambda: bool(ledger(folder)))
        process.kill()
        until(lambda: bool(logs))
        run.abort()
        report = finish(run)
    assert report.taken == report.cancelled


def test_no_workers() -> None:
    """Are one clear error, before an ID is taken."""
    told = r"stage a: no worker of the Dask cluster has answered within 0\.5 s"
    with a_cluster(0) as (_, address), pytest.raises(ConfigError, match=told):
        Pipeline(Stage("a", square, executor=DaskCluster(address, timeout=0.5))).run(range(3))


def test_workers_that_all_go_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait for others, which is told; their time does not pass meanwhile."""
    monkeypatch.setattr("rxpipe.executors.dask_engine._WATCHED", 0.05)
    with a_cluster(1) as (process, address), capture_logs() as logs:
        there = DaskCluster(address)
        stage = Stage("block", at(block, folder=folder, at=3), concurrency=2, timeout=60, executor=there)
        run = Pipeline(stage).start(range(20))
        until(lambda: any(line[1] == "3" for line in ledger(folder)))
        print(0, file=process.stdin, flush=True)
        until(lambda: bool(logs))
        (folder / "go").touch()
        print(1, file=process.stdin, flush=True)
        assert counts(finish(run)) == (20, 20, 0, 0)
    assert [log["event"] for log in logs] == ["the Dask cluster has no workers: calls wait for one"]
