from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import reactivex
from pipeline_helpers import (
    STRATEGIES,
    Block,
    Ids,
    ListSink,
    Seen,
    SlowSink,
    counts,
    finish,
    lasting,
    run_virtually,
    same,
    virtual,
)
from reactivex import operators as rx_ops
from reactivex.testing import ReactiveTest, TestScheduler

from rxpipe import Pipeline, Stage
from rxpipe.pipeline.run.strategies import Strategy, collected

on_next, on_completed, on_error = ReactiveTest.on_next, ReactiveTest.on_completed, ReactiveTest.on_error


class Events:
    """Notes what begins and ends in which stage, with how many are inside of all stages together."""

    def __init__(self) -> None:
        self.order: list[tuple[str, int]] = []
        self._lock = threading.Lock()

    def stage(self, name: str, concurrency: int = 3) -> Stage:
        def call(value: int) -> int:
            with self._lock:
                self.order.append((name, value))
            return value

        return Stage(name, call, concurrency=concurrency)


def test_staged_finishes_a_stage_before_the_next_begins() -> None:
    """And all stages before the sink begins."""
    events, sink = Events(), ListSink()
    sink.rows = Appends(events)
    Pipeline(events.stage("a"), events.stage("b"), events.stage("c"), sink=sink, strategy="staged").run(range(30))
    assert [stage for stage, _ in itertools.groupby(events.order, key=lambda event: event[0])] == [
        "a",
        "b",
        "c",
        "sink",
    ]
    assert len(events.order) == 120


class Appends(list[Any]):
    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def append(self, row: Any) -> None:
        self._events.order.append(("sink", row.id))
        super().append(row)


def test_per_stage_lets_an_item_go_on_while_others_are_behind() -> None:
    """All stages are at work at once."""
    block, seen = Block(only=[1]), Seen()
    run = Pipeline(Stage("a", block, concurrency=2), Stage("b", same)).start([0, 1, 2, 3], seen)
    seen.wait_for(3)
    block.may_return.set()
    assert counts(finish(run)) == (4, 4, 0, 0)
    assert seen.ids[-1] == 1


def test_per_item_never_has_more_items_inside_than_it_may() -> None:
    """In all stages together: three take 6 s, however many slots there are."""
    seen = Seen()
    stages = [Stage(name, lasting(2), concurrency=50) for name in "abc"]
    run_virtually(Pipeline(*stages, strategy="per_item", concurrency=3), range(9), seen)
    assert [outcome.seconds for outcome in seen.outcomes] == [6.0] * 9


def test_per_item_takes_the_next_id_when_an_item_is_through() -> None:
    """Not before."""
    ids = Ids(100)
    run, scheduler = virtual(
        Pipeline(Stage("a", lasting(1)), Stage("b", lasting(5)), strategy="per_item", concurrency=2), ids
    )
    taken: list[int] = []
    for at in (0.5, 5.5, 6.5, 11.5, 12.5):
        scheduler.advance_to(at)
        taken.append(run.taken)
    assert taken == [2, 2, 4, 4, 6]
    run.stop()
    scheduler.start()
    assert counts(run) == (6, 6, 0, 0)


def test_per_item_waits_for_its_sink() -> None:
    """An item is inside until the sink has taken it: two are, and the sink has one."""
    sink, ids = SlowSink(), Ids(100)
    run = Pipeline(Stage("a", same), sink=sink, strategy="per_item", concurrency=2).start(ids)
    assert sink.is_at_work.wait(20)
    ids.wait_for(3)
    assert run.taken == 3
    run.stop()
    sink.may_go_on.set()
    assert counts(finish(run)) == (3, 3, 0, 0)


def test_per_item_lets_an_item_overtake_others_in_any_stage() -> None:
    """A slow one holds up only itself."""
    block, seen = Block(only=[0]), Seen()
    run = Pipeline(Stage("a", same), Stage("b", block), strategy="per_item", concurrency=2).start(range(10), seen)
    seen.wait_for(9)
    block.may_return.set()
    finish(run)
    assert seen.ids[-1] == 0


@pytest.mark.parametrize(
    ("strategy", "seconds"),
    [
        ("per_stage", 1 + 2 * 4),  # one item's time in a, then two rounds of b
        ("per_item", 2 * (1 + 4)),  # two rounds of both
        ("staged", 2 * 1 + 2 * 4),  # two rounds of each
    ],
)
def test_strategies_take_the_time_that_they_should(strategy: Strategy, seconds: float) -> None:
    """Six items, three at once, calls of 1 s and of 4 s."""
    stages = Stage("a", lasting(1)), Stage("b", lasting(4))
    assert run_virtually(Pipeline(*stages, strategy=strategy), range(6)).seconds == seconds


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_stages_may_run_on_executors_of_their_own(strategy: Strategy) -> None:
    """In any strategy."""
    with ThreadPoolExecutor(2) as executor:
        stages = Stage("a", same, executor=executor), Stage("b", same), Stage("c", same, executor=executor)
        assert counts(Pipeline(*stages, strategy=strategy).run(range(30))) == (30, 30, 0, 0)


def test_collected_passes_nothing_before_its_source_has_completed() -> None:
    """Then everything, in order."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(on_next(10, "a"), on_next(20, "b"), on_completed(30))
    got = scheduler.start(lambda: source.pipe(collected))
    assert got.messages == [on_next(230, "a"), on_next(230, "b"), on_completed(230)]


def test_collected_passes_a_failure_on_at_once() -> None:
    """What it holds has not been through all stages."""
    scheduler = TestScheduler()
    error = ValueError()
    source: Any = scheduler.create_cold_observable(on_next(10, "a"), on_error(20, error))
    assert scheduler.start(lambda: source.pipe(collected)).messages == [on_error(220, error)]


def test_collected_may_be_left_while_it_passes_its_values_on() -> None:
    """It passes no more."""
    got: list[int] = []
    reactivex.of(1, 2, 3).pipe(collected, rx_ops.take(2)).subscribe(got.append)
    assert got == [1, 2]
