"""``run()`` on a running event loop says what to write instead, where it would never return."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import reactivex
from operator_helpers import run_on_loop
from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe.operators import (
    RateLimiter,
    batch,
    from_async_iterable,
    from_iterable,
    rate_limit,
    stage,
    to_async_iterable,
)
from rxpipe.operators.core.loops import BACKGROUND_LOOP
from rxpipe.operators.core.threads import WORKER_THREADS


def same(value: int) -> int:
    return value


async def same_async(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield number


NEED_THE_LOOP: dict[str, Observable[Any]] = {
    "plain": from_iterable(range(3)).pipe(stage(same)),
    "coroutine": from_iterable(range(3)).pipe(stage(same_async)),
    "under operators": from_iterable(range(3)).pipe(rx_ops.map(same), stage(same), batch(2), rx_ops.to_list()),
    "inner": reactivex.defer(lambda _: from_iterable(range(3)).pipe(stage(same))),
    "async source": from_async_iterable(numbers()),
    "source": from_iterable(range(3)),
    "rate limit": from_iterable(range(3)).pipe(rate_limit(RateLimiter(1))),
}


@pytest.mark.parametrize("name", NEED_THE_LOOP)
def test_it_is_refused(name: str) -> None:
    """With what to write, and nothing that was begun is left."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"write `await observable`.*to_async_iterable"):
            NEED_THE_LOOP[name].run()

    run_on_loop(main, virtual=False)
    assert BACKGROUND_LOOP.users == 0
    assert not getattr(WORKER_THREADS, "_users")  # noqa: B009 - private


def test_what_the_message_says_works() -> None:
    """Both ways of waiting on a loop."""

    async def main() -> None:
        source = from_iterable(range(3)).pipe(stage(same))
        assert await source == 2
        assert [item async for item in to_async_iterable(source)] == [0, 1, 2]

    run_on_loop(main, virtual=False)


def test_what_is_subscribed_to_elsewhere_may_be_run_on_a_loop() -> None:
    """``run()`` has sources of reactivex's emit on another thread: what is subscribed to there needs no loop."""

    async def main() -> Any:
        inner = from_iterable(range(3)).pipe(stage(same))
        return reactivex.of(1, 2).pipe(rx_ops.concat_map(lambda _: inner), rx_ops.to_list()).run()

    assert run_on_loop(main, virtual=False) == [0, 1, 2] * 2


def test_a_loop_inside_of_run_is_not_blocked_by_it() -> None:
    """Where an observer runs a loop of its own, on a thread that ``run()`` blocks without one."""

    async def main() -> int:
        return await from_iterable(range(3)).pipe(stage(same))

    def on_a_loop(value: int) -> int:
        return value + run_on_loop(main, virtual=False)

    assert reactivex.of(1, 2).pipe(rx_ops.map(on_a_loop)).run() == 4


def test_run_works_where_no_loop_runs() -> None:
    """Also in a thread that was started from a loop."""
    source = from_iterable(range(3)).pipe(stage(same_async))
    assert source.run() == 2

    async def main() -> int:
        return await asyncio.to_thread(source.run)

    assert run_on_loop(main, virtual=False) == 2
