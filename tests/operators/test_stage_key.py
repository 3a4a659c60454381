"""``ops.stage(key=...)``: one call per key at a time, in any chain."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_helpers import collect, run_on_loop

from rxpipe import operators as ops
from rxpipe.operators import Retry, from_iterable, to_async_iterable


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=30),
    concurrency=st.integers(1, 5),
    queue_size=st.integers(0, 5),
    ordered=st.booleans(),
)
def test_calls_of_a_key_never_overlap(
    items: list[tuple[int, int, bool]], concurrency: int, queue_size: int, ordered: bool
) -> None:
    """And begin in the order of arrival, retries included; all are called."""
    running: Counter[int] = Counter()
    calls: defaultdict[int, list[int]] = defaultdict(list)
    failed: set[int] = set()

    async def call(item: tuple[int, tuple[int, int, bool]]) -> int:
        number, (key, seconds, fails) = item
        running[key] += 1
        assert running[key] == 1
        assert running.total() <= concurrency
        await asyncio.sleep(seconds)
        running[key] -= 1
        if fails and number not in failed:
            failed.add(number)
            raise OSError
        calls[key].append(number)
        return number

    async def main() -> list[int]:
        stage = ops.stage(
            call,
            key=lambda item: item[1][0],
            concurrency=concurrency,
            queue_size=queue_size,
            ordered=ordered,
            retry=Retry(initial=1),
        )
        return [one async for one in to_async_iterable(from_iterable(list(enumerate(items))).pipe(stage))]

    result = run_on_loop(main)
    assert (result if ordered else sorted(result)) == list(range(len(items)))
    assert all(numbers == sorted(numbers) for numbers in calls.values())


def test_a_key_that_cannot_be_hashed_ends_the_sequence() -> None:
    """As any failure does."""

    def key(value: int) -> Any:
        return [value]

    with pytest.raises(TypeError, match="abs: key gave a list, which cannot be hashed; return text"):
        collect(from_iterable([1]).pipe(ops.stage(abs, key=key)))
