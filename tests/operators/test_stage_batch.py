"""``ops.stage(batch=...)``: lists of values, in any chain."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex
from operator_helpers import Watch, collect
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

from rxpipe import operators as ops
from rxpipe.operators import Batch, Failure, Retry, from_iterable


def tenfold(values: list[int]) -> list[int]:
    return [10 * value for value in values]


async def tenfold_later(values: list[int]) -> list[int]:
    return tenfold(values)


@pytest.mark.parametrize("fn", [tenfold, tenfold_later])
def test_each_item_gets_its_result(fn: Any) -> None:
    """One by one, as the calls end; the last list is not full, and waits for nobody once the source has completed."""
    chain = from_iterable(range(10)).pipe(ops.stage(fn, batch=Batch(max_items=4, max_seconds=1000), concurrency=2))
    assert sorted(collect(chain)) == [10 * number for number in range(10)]


def test_ordered_results_keep_the_order_of_items() -> None:
    """Also beside items that are tried again."""
    tried: list[int] = []

    def flaky(values: list[int]) -> list[Any]:
        results = [OSError() if value % 3 == 0 and value not in tried else value for value in values]
        tried.extend(values)
        return results

    stage: Any = ops.stage(flaky, batch=Batch(max_items=4), concurrency=3, ordered=True, retry=Retry(initial=0))
    assert collect(from_iterable(range(20)).pipe(stage)) == list(range(20))


def test_a_list_waits_for_others() -> None:
    """For ``max_seconds`` from the arrival of its first item, also if that is at time zero."""
    scheduler, calls, watch = TestScheduler(), list[tuple[float, list[float]]](), Watch[float]()

    def note(values: list[float]) -> list[float]:
        calls.append((scheduler.clock, values))
        return values

    times = [0.0, 1.0, 5.0, 5.5]
    source = reactivex.merge(*(reactivex.just(at).pipe(rx_ops.delay(at)) for at in times))
    source.pipe(ops.stage(note, batch=Batch(max_seconds=2))).subscribe(watch, scheduler=scheduler)
    scheduler.start()
    assert [(round(at), values) for at, values in calls] == [(2, [0.0, 1.0]), (6, [5.0, 5.5])]


def test_failures_are_recovered_one_by_one() -> None:
    """The one that is in the way stands alone in the end."""

    def poison(values: list[int]) -> list[int]:
        if 3 in values:
            raise ValueError
        return values

    def recover(failure: Failure[int]) -> int:
        return -failure.value

    chain = from_iterable(range(8)).pipe(ops.stage(poison, batch=Batch(max_items=8), recover=recover))
    assert sorted(collect(chain)) == [-3, 0, 1, 2, 4, 5, 6, 7]


def test_without_recover_a_failure_ends_the_sequence() -> None:
    """With what the function raised."""

    def fail(values: list[int]) -> list[int]:
        raise ValueError("poison")

    with pytest.raises(ValueError, match="poison"):
        collect(from_iterable(range(8)).pipe(ops.stage(fail, batch=Batch(max_items=4))))


def test_it_goes_with_no_expansion() -> None:
    """A list is one call's."""
    options: Any = {"batch": Batch(), "expand": True}
    with pytest.raises(ValueError, match="batch or expand, not both"):
        ops.stage(tenfold, **options)
