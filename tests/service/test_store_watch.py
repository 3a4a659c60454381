"""Whether a store answers, and how long items wait in it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pipeline_helpers import until

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.errors import StoreError
from rxpipe.service import store_watch
from rxpipe.service.store_watch import StoreWatch
from rxpipe.store.queries.backlog import Backlog


class Waiting:
    """A store in which an item waits, and the time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.since: float | None = 0.0
        self.error: StoreError | None = None
        self.watch = StoreWatch(self.reader, now=lambda: self.seconds)
        self.watch.begin(1)

    @contextmanager
    def reader(self) -> Generator[Waiting]:
        yield self

    def backlog(self, run: int) -> Backlog:
        if self.error is not None:
            raise self.error
        lag = 0.0 if self.since is None else self.seconds - self.since
        return Backlog(ready=int(self.since is not None), running=0, waiting=0, lag=lag)


def test_the_lag_goes_on_between_looks() -> None:
    """As the item that waited at the last look is taken to wait yet."""
    store = Waiting()
    assert store.watch.lag is None
    store.seconds = 10
    store.watch.look(store)
    assert store.watch.lag == 10
    store.seconds = 14
    assert store.watch.lag == 14
    store.since = 12
    store.watch.look(store)
    assert store.watch.lag == 2
    store.since = None
    store.watch.look(store)
    store.seconds = 20
    assert store.watch.lag == 0


def test_a_store_that_fails() -> None:
    """It is asked again, and says so while it does not answer."""
    store = Waiting()
    store.error = StoreError("the server is restarting")
    with store.watch:
        until(lambda: store.watch.trouble != "")
    assert store.watch.reason == "the store does not answer: StoreError: the server is restarting"
    store.error = None
    store.watch.look(store)
    assert store.watch.reason == ""


def test_a_store_that_does_not_answer() -> None:
    """Nobody waits for it: after a while it is late."""
    answer = threading.Event()
    store = Waiting()
    backlog = store.backlog

    def hang(run: int) -> Backlog:
        answer.wait(30)
        return backlog(run)

    store.backlog = hang  # type: ignore[method-assign]  # a test's own
    with store.watch:
        assert store.watch.reason == ""
        store.seconds += 12
        assert store.watch.reason == "the store has not answered for 12 s"
        answer.set()
        until(lambda: store.watch.reason == "")


def test_a_real_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an aborted run has left is ready."""
    url = f"sqlite:///{tmp_path / 'bank.db'}"
    stopped = threading.Event()

    def stop(number: int) -> int:
        if number == 5:
            run.abort()
            stopped.set()
        assert number < 5 or stopped.wait(30)
        return number

    pipeline = Pipeline(Stage("work", stop, concurrency=1), sink=DatabaseSink(url), store=RunStore(), name="bank")
    run = pipeline.start(range(40))
    report = run.finished.result(30)
    monkeypatch.setattr(store_watch, "SECONDS", 0.01)
    with StoreWatch(RunStore(url).reader) as watch:
        watch.begin(1)
        until(lambda: watch.backlog is not None and watch.lag is not None and watch.lag > 0)
        found = watch.backlog
    assert found is not None
    assert (found.running, found.waiting) == (0, 0)
    assert found.ready >= report.cancelled > 0  # some were read ahead
    assert watch.reason == ""
