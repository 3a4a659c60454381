"""Sources that cannot pause, ten times faster than a pipeline: memory is bounded, and every drop is counted."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, Seen, counts, finish, lasting, virtual
from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.subject import Subject

from rxpipe import Pipeline, Stage
from rxpipe import operators as ops
from rxpipe.errors import BufferOverflow

CAPACITY = 20
COUNT = 1_000


def events() -> Observable[int]:
    """An event each hundredth of a second; the pipeline takes ten of them in a second."""
    return reactivex.interval(0.01).pipe(rx_ops.take(COUNT))


def slow() -> Pipeline:
    return Pipeline(Stage("slow", lasting(0.2), concurrency=2, queue_size=2))


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_what_is_dropped_is_counted_exactly(policy: Any) -> None:
    """What was pushed is what was dropped and what was written, and which of them the policy says."""
    dropped: list[int] = []
    seen = Seen()
    source = events().pipe(ops.overflow(policy, CAPACITY, on_drop=dropped.append))
    run, scheduler = virtual(slow(), source, seen)
    most = 0
    for tick in range(1, 200):
        scheduler.advance_to(tick / 10)
        pushed = min(COUNT, tick * 10)
        most = max(most, pushed - len(dropped) - len(seen.outcomes))
    scheduler.start()
    report = run.finished.result(0)
    assert sorted(dropped + seen.ids) == list(range(COUNT))
    assert counts(report) == (len(seen.ids), len(seen.ids), 0, 0)
    assert report.most_in_flight <= 4 + 1
    assert CAPACITY <= most <= CAPACITY + 4 + 2  # the buffer, the stage, and those between
    assert len(seen.ids) < 200
    assert (max(seen.ids) == COUNT - 1) is (policy == "drop_oldest")
    assert (seen.ids == sorted(seen.ids)) is True


def test_an_overflow_is_an_error() -> None:
    """What was taken ends, and then the run fails."""
    seen = Seen()
    run, scheduler = virtual(slow(), events().pipe(ops.overflow("error", CAPACITY)), seen)
    scheduler.start()
    assert isinstance(run.finished.exception(0), BufferOverflow)
    assert set(seen.statuses.values()) == {"written"}
    assert counts(run) == (run.taken, run.taken, 0, 0)


def test_a_thread_that_is_made_to_wait() -> None:
    """Nothing is dropped, and it is never further ahead than the buffer and the pipeline hold."""
    source: Subject[int] = Subject()
    ended = 0
    furthest = 0

    def count(outcome: Any) -> None:
        nonlocal ended
        ended += 1

    def push() -> None:
        nonlocal furthest
        for number in range(COUNT):
            source.on_next(number)
            furthest = max(furthest, number + 1 - ended)
        source.on_completed()

    pipeline = Pipeline(Stage("work", lambda value: value, concurrency=2, queue_size=2))
    run = pipeline.start(source.pipe(ops.overflow("block", CAPACITY)), Seen(count))
    thread = threading.Thread(target=push)
    thread.start()
    report = finish(run)
    thread.join(LIMIT)
    assert counts(report) == (COUNT, COUNT, 0, 0)
    assert furthest <= CAPACITY + 4 + 3  # and those between: at the intake, at the exit, and on their way
