"""Batches that wait: for a rate, for a server that refuses, and what concurrency learns of it."""

from __future__ import annotations

from typing import Any

import reactivex
from pipeline_helpers import counts, finish, run_virtually, step, virtual
from reactivex import operators as rx_ops

from rxpipe import AdaptiveConcurrency, Batch, Pipeline, RateLimiter

from .batch_calls import Together


class Busy(Exception):
    """A server refuses for now."""

    uses_attempt = False
    retry_after = 5.0


def test_what_is_refused_for_now_is_not_divided() -> None:
    """Neither a whole list nor a part of one: it waits, and is called with again."""
    busy = iter([True, False, True, False, False, False, False])
    calls: list[list[int]] = []

    def call(values: list[int]) -> list[int]:
        calls.append(values)
        if next(busy):
            raise Busy
        if len(values) == 2:
            raise ValueError
        return values

    report = run_virtually(Pipeline(step("a", call, batch=Batch(max_items=2), concurrency=1)), range(2))
    assert (counts(report), calls) == ((2, 2, 0, 0), [[0, 1], [0, 1], [0], [1], [0]])
    assert report.stages[0].pushed_back == 3


def test_items_have_a_rate_of_their_own() -> None:
    """Ten items at two a second, in lists of two: the last one begins after four seconds."""
    batch = Batch(max_items=2, max_seconds=1, item_rate=RateLimiter(2, 1.0))
    report = run_virtually(Pipeline(step("a", Together(), batch=batch, concurrency=5)), range(10))
    assert (report.written, report.seconds) == (10, 4)


def test_a_list_is_made_when_the_rate_limit_lets_its_call_begin() -> None:
    """Items that come while it waits get into it: ten a second, and a call every two seconds."""
    call = Together()
    ids = reactivex.interval(0.1).pipe(rx_ops.take(40))
    stage = step("a", call, batch=Batch(max_seconds=0), rate_limit=RateLimiter(1, 2.0), queue_size=50)
    report = run_virtually(Pipeline(stage), ids)
    assert ([len(values) for values in call.calls], round(report.seconds)) == ([1, 19, 20], 4)


def test_concurrency_adapts_itself_to_refusals_in_place_of_results() -> None:
    """As to calls that are refused: more than five of fifty let it fall."""
    slots: list[float] = []

    def call(values: list[int]) -> Any:
        slots.append(run.stages[0].concurrency)
        return [Busy()] if len(slots) < 8 else values

    concurrency = AdaptiveConcurrency(least=1, start=8, most=8)
    run, scheduler = virtual(Pipeline(step("a", call, batch=Batch(), concurrency=concurrency)), [1])
    scheduler.start()
    assert (finish(run).written, slots) == (1, [8, 6, 6, 6, 6, 6, 6, 4])


def test_a_call_is_refused_once_however_many_of_its_items_are() -> None:
    """Two lists of ten, fifty seconds apart: the first lets concurrency fall, as the first refusal does."""
    refused: set[int] = set()

    def call(values: list[int]) -> Any:
        again = refused.issuperset(values)
        refused.update(values)
        return values if again else [Busy()] * len(values)

    concurrency = AdaptiveConcurrency(least=1, start=8, most=8)
    ids = reactivex.merge(reactivex.range(10), reactivex.timer(50.0).pipe(rx_ops.flat_map(reactivex.range(10, 20))))
    stage = step("a", call, batch=Batch(max_items=10, max_seconds=1), concurrency=concurrency)
    report = run_virtually(Pipeline(stage), ids)
    assert (report.written, report.stages[0].pushed_back, report.stages[0].concurrency) == (20, 20, 6)
