"""``batch``: one call for many items, each of which ends by itself."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, Seen, counts, finish, run_virtually, same, step, until, virtual
from virtual_loop import VirtualLoop

from rxpipe import Batch, Drop, Listener, Pipeline, Retry, StopRun, Usage
from rxpipe.errors import WrongResult
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy

from .batch_calls import Together


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("strategy", ["per_stage", "per_item", "staged"])
def test_each_item_gets_its_own_result(strategy: Strategy, scheduler: Scheduler) -> None:
    """In the order of the list."""
    call, seen = Together(), Seen()
    pipeline = Pipeline(
        step("a", call, batch=Batch(max_items=4, max_seconds=0.01)),
        step("b", same),
        strategy=strategy,
        scheduler=scheduler,
        concurrency=4,
    )
    with_outcomes: Any = pipeline.stream(range(10))

    async def main() -> None:
        async for outcome in with_outcomes:
            seen.on_next(outcome)

    asyncio.run(main())
    assert {one.id: one.value for one in seen.outcomes} == {number: 10 * number for number in range(10)}
    assert max(map(len, call.calls)) <= 4


def test_a_list_begins_when_it_is_full_or_has_waited() -> None:
    """The first of its items says since when."""
    call = Together()
    report = run_virtually(Pipeline(step("a", call, batch=Batch(max_items=4, max_seconds=3))), range(10))
    assert [len(values) for values in call.calls] == [4, 4, 2]
    assert report.seconds == 3


def test_a_call_that_fails_is_divided_until_the_poison_stands_alone() -> None:
    """After the attempts of the policy; the others are written."""
    call = Together(poison=[5])
    stage = step("a", call, batch=Batch(max_items=8), retry=Retry(max_attempts=2, initial=0))
    seen = Seen()
    report = run_virtually(Pipeline(stage, step("b", same)), range(8), seen)
    assert counts(report) == (8, 7, 1, 0)
    assert seen.statuses[5] == "failed"
    assert call.calls[:2] == [list(range(8))] * 2
    assert sorted(map(len, call.calls[2:])) == [1, 1, 2, 2, 4, 4]


def test_a_call_that_times_out_is_divided() -> None:
    """So the item that makes it hang fails alone."""

    async def hang(values: list[int]) -> list[int]:
        await asyncio.sleep(100.0 if 2 in values else 1.0)
        return values

    async def main() -> Report:
        stage = step("a", hang, batch=Batch(max_items=4), timeout=5.0)
        return await Pipeline(stage, step("b", same), scheduler="asyncio").run_async(range(4))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert counts(runner.run(main())) == (4, 3, 1, 0)


@pytest.mark.slow
def test_threads_that_hang_with_a_list_are_abandoned() -> None:
    """One for each list with the item that makes them hang."""
    may_end = threading.Event()

    def hang(values: list[int]) -> list[int]:
        if 2 in values:
            assert may_end.wait(LIMIT)
        return values

    report = Pipeline(step("a", hang, batch=Batch(max_items=4), timeout=1.0, max_abandoned=10)).run(range(4))
    may_end.set()
    assert counts(report) == (4, 3, 1, 0)
    assert report.stages[0].abandoned == 3


def test_an_exception_in_place_of_a_result_is_that_items() -> None:
    """Which is tried again; the others are not."""
    calls: list[Any] = []

    def some(values: list[int]) -> list[Any]:
        calls.append(values)
        return [ValueError(value) if value % 2 else value for value in values]

    stage = step("a", some, batch=Batch(max_items=4), retry=Retry(max_attempts=2, initial=1, jitter=0))
    report = run_virtually(Pipeline(stage), range(4))
    assert (counts(report), calls[0]) == ((4, 2, 2, 0), [0, 1, 2, 3])
    assert sorted(value for values in calls[1:] for value in values) == [1, 3]
    assert (report.stages[0].done, report.stages[0].failed, report.stages[0].retried) == (2, 2, 2)


@pytest.mark.parametrize("wrong", [None, 1, "ab", [], [1, 2, 3], {1: 2, 2: 3}], ids=repr)
def test_it_must_return_as_many_results(wrong: Any) -> None:
    """Else each item fails with what came instead; it would come again, so there is no other call."""
    seen, calls = Seen(), list[int]()

    def call(values: list[int]) -> Any:
        calls.append(len(values))
        return wrong

    retry = Retry(max_attempts=3, retry_on=lambda error: True)
    run_virtually(Pipeline(step("a", call, batch=Batch(max_items=2), retry=retry)), range(2), seen)
    assert [type(one.error) for one in seen.outcomes] == [WrongResult, WrongResult]
    assert "a: the function got a list of 2 values, and returned" in str(seen.outcomes[0].error)
    assert calls == [2]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=repr)
def test_what_is_no_exception_fails_items_too(error: BaseException) -> None:
    """The run goes on."""

    def fail(values: list[int]) -> list[int]:
        raise error

    assert finish(Pipeline(step("a", fail, batch=Batch(max_items=2))).start(range(4))).failed == 4


def test_calls_are_as_many_as_there_are_slots() -> None:
    """However many items wait."""
    lock, running, most = threading.Lock(), list[int](), list[int]()

    def call(values: list[int]) -> list[int]:
        with lock:
            running.append(1)
            most.append(len(running))
        threading.Event().wait(0.002)
        with lock:
            running.pop()
        return values

    stage = step("a", call, batch=Batch(max_items=3, max_seconds=0), concurrency=2, queue_size=20)
    assert Pipeline(stage).run(range(60)).written == 60
    assert max(most) == 2


def test_usage_is_shared_out() -> None:
    """The sum is what the calls have used."""
    told: list[Any] = []
    call = Together(usage=Usage(prompt_tokens=10, completion_tokens=2, cost=0.3))

    class Told(Listener):
        def used(self, item: Any, stage: str, attempt: int, usage: Usage) -> None:
            told.append((item.id, usage.prompt_tokens, usage.completion_tokens))

    pipeline = Pipeline(step("a", call, batch=Batch(max_items=3)), listeners=[Told()])
    report = run_virtually(pipeline, range(3))
    assert told == [(0, 4, 1), (1, 3, 1), (2, 3, 0)]
    assert (report.usage.prompt_tokens, round(report.usage.cost, 9)) == (10, 0.3)


def test_a_stop_ends_all_of_its_items() -> None:
    """They go no further in this run."""

    def stop(values: list[int]) -> list[int]:
        raise StopRun("enough")

    run, scheduler = virtual(Pipeline(step("a", stop, batch=Batch(max_items=2))), range(4))
    scheduler.start()
    assert isinstance(run.finished.exception(), StopRun)
    assert run.cancelled == run.taken


@pytest.mark.parametrize("is_last", [True, False])
def test_an_item_of_a_batch_may_be_cancelled(is_last: bool) -> None:
    """The others go on; a call whose items are all cancelled is ended."""
    inside, may_end, cut_off = list[Any](), threading.Event(), list[Any]()

    async def call(values: list[int]) -> list[int]:
        inside.append(values)
        try:
            while not may_end.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            cut_off.append(values)
            raise
        return values

    with Pipeline(step("a", call, batch=Batch(max_items=2))).open() as running:
        submissions = [running.submit(1), running.submit(2)]
        until(lambda: bool(inside))
        assert submissions[0].cancel()
        assert submissions[0].result(LIMIT).status == "cancelled"
        if is_last:
            assert submissions[1].cancel()
            assert submissions[1].result(LIMIT).status == "cancelled"
            until(lambda: bool(cut_off))
        may_end.set()
        assert submissions[1].result(LIMIT).status == ("cancelled" if is_last else "written")
    assert cut_off == ([[1, 2]] if is_last else [])


def test_an_abort_accounts_for_all() -> None:
    """Those in the call, and those that wait."""
    inside, may_end = threading.Event(), threading.Event()

    def call(values: list[int]) -> list[int]:
        inside.set()
        assert may_end.wait(LIMIT)
        return values

    stage = step("a", call, batch=Batch(max_items=3, max_seconds=0), concurrency=1, queue_size=4)
    run = Pipeline(stage).start(range(9))
    assert inside.wait(LIMIT)
    stats: Any = run.stages[0]
    until(lambda: stats.taken == 7)
    run.abort()
    may_end.set()
    assert finish(run).cancelled == run.taken
    assert (stats.running, stats.waiting) == (0, 0)


def test_what_does_not_fit_is_refused() -> None:
    """Where it is made."""
    for option in ("expand", "collect"):
        options: Any = {option: True}
        with pytest.raises(ValueError, match="neither expand nor collect"):
            step("a", Together(), batch=Batch(), **options)
    wrong: Any
    for wrong in ({"max_items": 0}, {"max_seconds": -1}, {"max_seconds": float("inf")}):
        with pytest.raises(ValueError, match=r"Batch: max_.* must be"):
            Batch(**wrong)
    for wrong in ({"max_items": 5.0}, {"max_items": True}, {"max_seconds": "1"}, {"item_rate": 5}):
        with pytest.raises(TypeError, match=r"Batch: .* must be"):
            Batch(**wrong)
    wrong = {"batch": 100}
    with pytest.raises(TypeError, match=r"stage a: batch must not be 100, .*; write batch=Batch\(max_items=100\)"):
        step("a", Together(), **wrong)


class _Unmeasured(list[int]):
    """A list that does not tell its length."""

    def __len__(self) -> int:
        raise RuntimeError("no length")


class _Broken(list[int]):
    """A list that cannot be gone through."""

    def __iter__(self) -> Any:
        raise RuntimeError("no items")


class _Nameless:
    """What does not even tell its class."""

    @property  # type: ignore[misc]  # that is the point
    def __class__(self) -> type[Any]:  # pyright: ignore[reportIncompatibleMethodOverride] - that is the point
        raise RuntimeError("no class")


@pytest.mark.parametrize("odd", [_Unmeasured, _Broken, _Nameless])
def test_an_odd_list_fails_its_items_alone(odd: Any) -> None:
    """Whatever it raises when it is looked at: the other lists' items are written."""
    stage = step("a", lambda values: odd() if 0 in values else values, batch=Batch(max_items=2))
    assert counts(run_virtually(Pipeline(stage), range(6))) == (6, 5, 1, 0)


def test_an_odd_result_is_a_result() -> None:
    """Also one that does not tell its class."""
    stage = step("a", lambda values: [_Nameless() for _ in values], batch=Batch(max_items=2))
    assert counts(run_virtually(Pipeline(stage), range(2))) == (2, 2, 0, 0)


@pytest.mark.parametrize("raises", [True, False])
def test_one_decision_may_be_for_all_items(raises: bool) -> None:
    """Returned or raised instead of a list."""

    def drop(values: list[int]) -> Any:
        if raises:
            raise Drop("unwanted")
        return Drop("unwanted")

    report = run_virtually(Pipeline(step("a", drop, batch=Batch(max_items=2))), range(4))
    assert (report.dropped, report.stages[0].dropped) == (4, 4)


def test_an_item_may_be_cancelled_twice() -> None:
    """It is left out once; the others go on."""
    inside, may_end = threading.Event(), threading.Event()

    def call(values: list[int]) -> list[int]:
        inside.set()
        assert may_end.wait(LIMIT)
        return values

    with Pipeline(step("a", call, batch=Batch(max_items=2))).open() as running:
        first, second = running.submit(1), running.submit(2)
        assert inside.wait(LIMIT)
        first.cancel()
        first.cancel()
        assert first.result(LIMIT).status == "cancelled"
        may_end.set()
        assert second.result(LIMIT).status == "written"
