"""What the tests of whole pipelines share: sources and sinks that count, an observer that watches, virtual time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import reactivex
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.abc import ObserverBase
from reactivex.testing import TestScheduler

from rxpipe.operators import stage
from rxpipe.pipeline.outcome import Outcome, Report
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.ports import Write
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.strategies import Strategy
from rxpipe.pipeline.stage import Stage

LIMIT = 20.0  # seconds until something that has not happened counts as never
STRATEGIES: tuple[Strategy, ...] = ("per_stage", "per_item", "staged")
SCHEDULERS: tuple[Scheduler, ...] = ("threads", "asyncio")
WAYS = [(strategy, scheduler) for strategy in STRATEGIES for scheduler in SCHEDULERS]


def counts(report: Report | Run) -> tuple[int, int, int, int]:
    """Taken, written, failed and cancelled."""
    return report.taken, report.written, report.failed, report.cancelled


def same(value: Any) -> Any:
    return value


class Ids(Collection[int]):
    """The numbers below ``count``, which tell how many were asked for, and can wait for that."""

    def __init__(self, count: int) -> None:
        self.given = 0
        self._count = count
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._count

    def __contains__(self, value: object) -> bool:
        return value in range(self._count)

    def __iter__(self) -> Iterator[int]:
        for number in range(self._count):
            with self._changed:
                self.given += 1
                self._changed.notify_all()
            yield number

    def wait_for(self, given: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.given >= given, LIMIT), f"only {self.given}"


class Seen(ObserverBase[Outcome[Any]]):
    """Records outcomes, and what breaks the grammar of Rx in ``broken``; on any thread."""

    def __init__(self, on_next: Callable[[Outcome[Any]], object] | None = None) -> None:
        self.outcomes: list[Outcome[Any]] = []
        self.error: Exception | None = None
        self.completed = False
        self.ended = threading.Event()
        self.broken: list[str] = []
        self._on_next = on_next
        self._inside = threading.Lock()
        self._changed = threading.Condition()

    @property
    def ids(self) -> list[Any]:
        return [outcome.id for outcome in self.outcomes]

    @property
    def statuses(self) -> dict[Any, str]:
        return {outcome.id: outcome.status for outcome in self.outcomes}

    def on_next(self, value: Outcome[Any]) -> None:
        if not self._inside.acquire(blocking=False):
            self.broken.append(f"{value!r} overlaps another notification")
            return
        try:
            if self.ended.is_set():
                self.broken.append(f"{value!r} after the end")
            with self._changed:
                self.outcomes.append(value)
                self._changed.notify_all()
            if self._on_next is not None:
                self._on_next(value)
        finally:
            self._inside.release()

    def on_error(self, error: Exception) -> None:
        self._end(error)

    def on_completed(self) -> None:
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._inside.locked() or self.ended.is_set():
            self.broken.append(f"an end that overlaps or follows another notification: {error!r}")
        self.error = error
        self.completed = error is None
        self.ended.set()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.outcomes) >= count, LIMIT), f"only {self.ids}"


class ListSink:
    """Keeps outcomes in a list, on the thread that they come on; raises at those that are ``poison``."""

    def __init__(self, poison: object = None) -> None:
        self.rows: list[Outcome[Any]] = []
        self.opened = 0
        self._poison = poison

    @property
    def ids(self) -> list[Any]:
        return [row.id for row in self.rows]

    def open(self) -> Write:
        self.opened += 1
        return rx_ops.map(self._keep)

    def _keep(self, outcome: Outcome[Any]) -> Outcome[Any]:
        if outcome.id == self._poison:
            raise OSError("the list is full")
        self.rows.append(outcome)
        return outcome


class SlowSink(ListSink):
    """Keeps outcomes one by one on a thread of its own, once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.is_at_work = threading.Event()

    def open(self) -> Write:
        return stage(self._wait, queue_size=0)

    def _wait(self, outcome: Outcome[Any]) -> Outcome[Any]:
        self.is_at_work.set()
        assert self.may_go_on.wait(LIMIT)
        return self._keep(outcome)


class Block:
    """A function that does not return before it may, and tells who is inside."""

    def __init__(self, only: Collection[object] | None = None) -> None:
        self.may_return = threading.Event()
        self.inside: list[Any] = []
        self._only = only
        self._changed = threading.Condition()

    def __call__(self, value: Any) -> Any:
        if self._only is not None and value not in self._only:
            return value
        with self._changed:
            self.inside.append(value)
            self._changed.notify_all()
        assert self.may_return.wait(LIMIT)
        return value

    def wait_for(self, inside: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.inside) >= inside, LIMIT), f"only {self.inside}"


def step(name: str, call: Callable[[Any], Any], **options: Any) -> Stage[Any, Any]:
    """A stage of any types, so that its function may be a lambda."""
    return Stage(name, call, **options)


def noting(calls: list[Any]) -> Callable[[Any], Any]:
    """A function that notes what it is called with, and returns it."""

    def note(value: Any) -> Any:
        calls.append(value)
        return value

    return note


def finish(run: Run) -> Report:
    """Wait for a run's end."""
    return run.finished.result(LIMIT)


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what nothing tells of."""
    waiting = threading.Event()
    for _ in range(int(LIMIT / 0.002)):
        if is_so():
            return
        waiting.wait(0.002)
    raise AssertionError("it never came about")


def lasting(seconds: float) -> Callable[[Any], Observable[Any]]:
    """A function whose calls last so many seconds of whichever time goes by."""
    return lambda value: reactivex.timer(seconds).pipe(rx_ops.map(lambda _: value))


def virtual(pipeline: Pipeline, source: Any, seen: Seen | None = None) -> tuple[Run, TestScheduler]:
    """A run in virtual time, which does not go by before ``scheduler.start()``."""
    scheduler = TestScheduler()
    return pipeline.start(source, seen, scheduler=scheduler), scheduler


def run_virtually(pipeline: Pipeline, source: Any, seen: Seen | None = None) -> Report:
    """Run in virtual time."""
    run, scheduler = virtual(pipeline, source, seen)
    scheduler.start()
    assert run.finished.done()
    return run.finished.result()
