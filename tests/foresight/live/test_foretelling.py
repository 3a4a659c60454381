"""The outlook of a live run, kept up to date beside it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from rxpipe import Pipeline, Stage
from rxpipe.foresight.live.foretelling import Foretelling
from rxpipe.foresight.live.remaining import Remaining
from rxpipe.insight.snapshot import Snapshot
from rxpipe.pipeline.run.run import Run


def begun(count: int, seconds: float) -> tuple[Pipeline, Run]:
    """A run that has started, with calls of so many seconds."""

    def wait(value: Any) -> Any:
        time.sleep(seconds)
        return value

    pipeline = Pipeline(Stage("wait", wait, concurrency=4))
    return pipeline, pipeline.start(range(count))


def until_told(run: Run) -> Snapshot:
    """The first snapshot with an outlook."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        snapshot = run.snapshot()
        if snapshot.outlook is not None:
            return snapshot
        time.sleep(0.02)
    raise AssertionError("nothing was told")


def thread_of(foretelling: Foretelling) -> threading.Thread:
    """Where it simulates."""
    thread: threading.Thread = getattr(foretelling, "_thread")  # noqa: B009 - not public
    return thread


@pytest.mark.slow
def test_snapshots_have_the_outlook() -> None:
    """It is estimated on a thread of its own, which ends with it."""
    pipeline, run = begun(2_000, 0.02)
    with Foretelling(pipeline, run, total=2_000, seconds=0.3, share=1.0):
        snapshot = until_told(run)
    assert snapshot.outlook is not None
    assert snapshot.outlook.seconds.middle > 1
    assert not [one for one in threading.enumerate() if one.name == "rxpipe-foresight"]
    run.abort()
    run.finished.result(timeout=60)


@pytest.mark.slow
def test_it_ends_soon_where_nobody_waits() -> None:
    """Also in the middle of an estimate; and it has no more to do when the run is over."""
    pipeline, run = begun(5_000, 0.01)
    with Foretelling(pipeline, run, total=5_000, seconds=0.05, share=1.0):
        time.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    run.abort()
    run.finished.result(timeout=60)
    with Foretelling(pipeline, run, total=5_000, seconds=0.0, share=1.0) as foretelling:
        thread = thread_of(foretelling)
        thread.join(timeout=60)
        assert not thread.is_alive()


@pytest.mark.slow
def test_a_fault_does_not_reach_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limiter that cannot be simulated, for instance: then nothing is told."""

    def broken(*_: Any) -> None:
        raise TypeError("no simulation of that")

    monkeypatch.setattr(Remaining, "estimate", broken)
    pipeline, run = begun(20, 0.02)
    with Foretelling(pipeline, run, total=20, seconds=0.01, share=1.0) as foretelling:
        thread_of(foretelling).join(timeout=60)
    assert run.finished.result(timeout=60).written == 20
    assert run.outlook is None


@pytest.mark.slow
def test_it_takes_a_hundredth_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long is done less often."""
    calls: list[float] = []

    def nothing(*_: Any) -> float:
        return 0.0

    def costly(*_: Any) -> None:
        calls.append(time.monotonic())
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    monkeypatch.setattr(Remaining, "cost", nothing)
    monkeypatch.setattr(Remaining, "estimate", costly)
    pipeline, run = begun(2_000, 0.02)
    with Foretelling(pipeline, run, total=2_000, seconds=0.05, share=0.05):
        while len(calls) < 3:
            time.sleep(0.02)
    run.abort()
    run.finished.result(timeout=60)
    assert calls[2] - calls[0] >= 2 * 0.02 / 0.05


@pytest.mark.slow
def test_the_first_estimate_waits_for_its_share_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many items are in flight, it costs more than its share of the first seconds."""
    asked: list[float] = []

    def cost(*_: Any) -> float:
        return 0.02

    def estimate(*_: Any) -> None:
        asked.append(time.monotonic())

    monkeypatch.setattr(Remaining, "cost", cost)
    monkeypatch.setattr(Remaining, "estimate", estimate)
    pipeline, run = begun(2_000, 0.02)
    began = time.monotonic()
    with Foretelling(pipeline, run, total=2_000, seconds=0.05, share=0.05):
        while not asked:
            time.sleep(0.02)
    run.abort()
    run.finished.result(timeout=60)
    assert asked[0] - began >= 0.02 / 0.05
