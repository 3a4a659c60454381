"""Whether a store answers, and how long items wait in it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
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
    """A store in which some items wait, in the order in which they are taken; and the time."""

    def __init__(self, *keys: str) -> None:
        self.seconds = 0.0
        self.keys = list(keys)
        self.error: StoreError | None = None
        self.watch = StoreWatch(self.reader, now=lambda: self.seconds)
        self.watch.begin(1)

    @contextmanager
    def reader(self) -> Generator[Waiting]:
        yield self

    def backlog(self, run: int, asked: Sequence[str] = ()) -> Backlog:
        if self.error is not None:
            raise self.error
        ends = frozenset([*self.keys[:1], *self.keys[-1:]])
        still = frozenset(asked) & frozenset(self.keys)
        return Backlog(ready=len(self.keys), running=0, waiting=0, ends=ends, still_ready=still)

    def after(self, seconds: float) -> float | None:
        self.seconds += seconds
        self.watch.look(self)
        return self.watch.lag


def test_the_lag_is_that_of_the_oldest_item() -> None:
    """As far as it was seen: from the look at which it was there first."""
    store = Waiting("a", "b", "c")
    assert store.watch.lag is None
    assert store.after(0) == 0
    assert store.after(10) == 10
    store.keys = ["c", "d"]
    assert store.after(10) == 20
    store.keys = ["d", "e"]
    assert store.after(5) == 5
    store.keys = []
    assert store.after(5) == 0


def test_an_item_that_others_pass_is_not_forgotten() -> None:
    """However many come and go."""
    store = Waiting("last")
    for number in range(500):
        store.keys = [f"item {number}", "last"]
        store.after(1)
    assert store.watch.lag == 499
    assert store.keys


def test_a_store_that_fails() -> None:
    """It is asked again, and says so while it does not answer."""
    store = Waiting("a")
    store.error = StoreError("the server is restarting")
    with store.watch:
        until(lambda: store.watch.trouble != "")
    assert store.watch.reason == "the store does not answer: StoreError: the server is restarting"
    store.error = None
    store.after(1)
    assert store.watch.reason == ""


def test_a_store_that_does_not_answer() -> None:
    """Nobody waits for it: after a while it is late."""
    answer = threading.Event()
    store = Waiting("a")
    backlog = store.backlog

    def hang(run: int, asked: Sequence[str] = ()) -> Backlog:
        answer.wait(30)
        return backlog(run, asked)

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
    assert len(found.ends) == 2
    assert watch.reason == ""
