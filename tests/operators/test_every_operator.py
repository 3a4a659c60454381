"""Nothing is lost and nothing hangs, whichever operator of reactivex subscribes to stages, and wherever it does."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from every_operator import CASES, CUT_OFF, ENDLESS, OFF_LOOP, TIMED, UNSYNCHRONIZED, Make
from operator_helpers import Watch, run_on_loop
from reactivex import Observable
from reactivex.abc import SchedulerBase
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.testing import TestScheduler

from rxpipe.operators import from_async_iterable, from_iterable, stage

_PATIENCE = 10.0  # seconds until a sequence counts as hanging


def same(value: Any) -> Any:
    return value


async def pausing(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def plain(*values: Any) -> Observable[Any]:
    return from_iterable(values).pipe(stage(same))


def coroutines(*values: Any) -> Observable[Any]:
    return from_iterable(values).pipe(stage(pausing))


def async_source(*values: Any) -> Observable[Any]:
    class Values:
        async def __aiter__(self) -> AsyncIterator[Any]:
            for value in values:
                await asyncio.sleep(0)
                yield value

    return from_async_iterable(Values())


def mixed(*values: Any) -> Observable[Any]:
    """Both kinds of stages, in a chain."""
    return from_iterable(values).pipe(stage(pausing), stage(same))


MAKES: list[Make] = [plain, coroutines, async_source, mixed]


def problem(name: str, watch: Watch[Any], *, on_threads: bool = False) -> str | None:
    """What went wrong, if anything."""
    if (on_threads and name in UNSYNCHRONIZED) or (name in CUT_OFF and not watch.values):
        return None
    if not watch.ended.is_set():
        return f"{name} hangs after {watch.values}"
    if watch.error is not None or watch.broken:
        return f"{name}: {watch.error!r} {watch.broken}"
    return None if CASES[name][1](watch.values) else f"{name}: {watch.values}"


def all_cases(seq: Make, scheduler: SchedulerBase | None) -> list[str]:
    """Subscribe to each case on this thread, one after the other; what went wrong."""
    problems: list[str | None] = []
    on_threads = scheduler is not None or seq in (plain, mixed)  # all else is on the background loop's
    cannot_wait = isinstance(scheduler, (CurrentThreadScheduler, ImmediateScheduler))
    for name, (build, _) in CASES.items():
        if cannot_wait and name in TIMED:
            continue
        watch = Watch[Any]().to(build(seq), scheduler)
        watch.ended.wait(_PATIENCE)
        has_own_thread = scheduler is None and name in OFF_LOOP
        problems.append(problem(name, watch, on_threads=on_threads or has_own_thread))
        watch.dispose()
    return [one for one in problems if one is not None]


async def all_cases_on_loop(seq: Make, scheduler: SchedulerBase | None) -> list[str]:
    """The same on the running loop."""
    problems: list[str | None] = []
    for name, (build, _) in CASES.items():
        watch = Watch[Any]().to(build(seq), scheduler)
        with suppress(Exception):  # looked at below
            await asyncio.wait_for(watch.end_on_loop(), _PATIENCE)
        problems.append(problem(name, watch, on_threads=scheduler is None and name in OFF_LOOP))
        watch.dispose()
    return [one for one in problems if one is not None]


SCHEDULERS: dict[str, Callable[[], SchedulerBase | None]] = {
    "thread pool": lambda: ThreadPoolScheduler(3),
    "new thread": NewThreadScheduler,
    "event loop": EventLoopScheduler,
    "current thread": CurrentThreadScheduler,
    "immediate": ImmediateScheduler,
}


@pytest.fixture(params=[None, 1e-6], ids=["", "switching often"])
def _switching(request: pytest.FixtureRequest) -> Iterator[None]:
    """Threads take turns as usual, and after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(request.param or before)
    yield
    sys.setswitchinterval(before)


@pytest.mark.slow
@pytest.mark.parametrize("seq", MAKES)
@pytest.mark.usefixtures("_switching")
def test_where_nothing_is_given(seq: Make) -> None:
    """Subscribed to on a thread without a loop."""
    assert all_cases(seq, None) == []


@pytest.mark.slow
@pytest.mark.parametrize("seq", MAKES)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_on_every_scheduler(name: str, seq: Make) -> None:
    """Operators that take the subscriber's scheduler subscribe and emit there."""
    scheduler = SCHEDULERS[name]()
    try:
        assert all_cases(seq, scheduler) == []
    finally:
        if isinstance(scheduler, EventLoopScheduler):
            scheduler.dispose()
        if isinstance(scheduler, ThreadPoolScheduler):
            scheduler.executor.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("seq", MAKES)
@pytest.mark.usefixtures("_switching")
def test_on_a_running_loop(seq: Make) -> None:
    """On an app's own loop, and with that as the scheduler."""

    async def main() -> list[str]:
        given = AsyncIOScheduler(asyncio.get_running_loop())
        return await all_cases_on_loop(seq, None) + await all_cases_on_loop(seq, given)

    assert run_on_loop(main, virtual=False) == []


@pytest.mark.slow
def test_in_virtual_time() -> None:
    """Plain functions, which virtual time waits for; what goes on for ever at one moment cannot be asked."""
    problems: list[str | None] = []
    for name, (build, _) in CASES.items():
        if name not in ENDLESS and "_on" not in name:
            scheduler = TestScheduler()
            watch = Watch[Any]().to(build(plain), scheduler)
            scheduler.advance_to(100)
            problems.append(problem(name, watch))
    assert [one for one in problems if one is not None] == []
