"""``expand``: the children of an item, and how it ends with them."""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, Block, Seen, finish, run_virtually, same, step, until, virtual
from reactivex import operators as rx_ops

from rxpipe import Batch, Drop, Pipeline, Record, Retry, Stage, StopRun
from rxpipe.executors import Processes
from rxpipe.operators.errors import CallFailed
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy

WAYS: list[tuple[Strategy, Scheduler]] = [
    ("per_stage", "threads"),
    ("per_stage", "asyncio"),
    ("per_item", "threads"),
    ("per_item", "asyncio"),
]


def letters(value: Any) -> list[str]:
    return ["a", "b"]


def generate(value: Any) -> Iterator[str]:
    yield from "ab"


async def generate_later(value: Any) -> AsyncIterator[str]:
    for letter in "ab":
        await asyncio.sleep(0)
        yield letter


async def letters_later(value: Any) -> list[str]:
    return ["a", "b"]


def observe(value: Any) -> reactivex.Observable[str]:
    return reactivex.of("a", "b")


@pytest.mark.parametrize("ways", WAYS, ids=str)
@pytest.mark.parametrize("call", [letters, generate, generate_later, letters_later, observe])
def test_each_value_goes_on_as_an_item(call: Any, ways: tuple[Strategy, Scheduler]) -> None:
    """With an ID of its parent's; this one ends when both have."""
    strategy, scheduler = ways
    ended: list[Any] = []
    first: Stage[Any, str] = step("a", call, expand=True)
    pipeline = Pipeline(first, step("b", str.upper), strategy=strategy, scheduler=scheduler)
    pipeline.outcomes([17]).pipe(rx_ops.do_action(ended.append)).run() if scheduler == "threads" else ended.extend(
        asyncio.run(collected(pipeline))
    )
    assert {(one.id, one.status, one.value, one.parent) for one in ended[:2]} == {
        ("17/0", "written", "A", 17),
        ("17/1", "written", "B", 17),
    }
    assert [(one.id, one.status, one.value, one.parent) for one in ended[2:]] == [(17, "expanded", 17, None)]


async def collected(pipeline: Pipeline) -> list[Any]:
    return [outcome async for outcome in pipeline.stream([17])]


def test_no_value_at_all_ends_the_parent() -> None:
    """As any number of them does."""
    stage: Stage[Any, Any] = step("a", lambda value: [], expand=True)
    report = Pipeline(stage, step("b", same)).run([1, 2])
    assert (report.expanded, report.spawned, report.written) == (2, 0, 0)


def test_a_child_may_have_an_id_of_its_own() -> None:
    """That of the record that the function gives."""
    seen = Seen()
    run_virtually(Pipeline(step("a", lambda value: [Record("x", 1), 2], expand=True)), [0], seen)
    assert [(one.id, one.value) for one in seen.outcomes] == [("x", 1), ("0/1", 2), (0, 0)]


@pytest.mark.parametrize("wrong", [None, True, 1.5, [1]], ids=repr)
def test_a_wrong_id_fails_the_call_alone(wrong: Any) -> None:
    """The run goes on."""
    seen = Seen()
    ids: dict[Any, Any] = {0: wrong, 5: "fine"}
    stage = step("a", lambda value: [Record(ids[value], 1)], expand=True)
    report = Pipeline(stage).start([0, 5], seen)
    assert (finish(report).failed, finish(report).expanded) == (1, 1)
    error = next(one.error for one in seen.outcomes if one.status == "failed")
    assert "an ID must be an int or a str" in str(error)


@pytest.mark.parametrize("wrong", [None, 1, "ab", b"ab", {"a": 1}], ids=repr)
def test_a_single_value_fails_the_call(wrong: Any) -> None:
    """A text or a mapping is one value, too."""
    seen = Seen()
    retry = Retry(max_attempts=3)
    report = run_virtually(Pipeline(step("a", lambda value: wrong, expand=True, retry=retry)), [0], seen)
    assert str(seen.outcomes[0].error).startswith("a: a stage with expand gives many values")
    assert report.stages[0].retried == 0


def test_an_attempt_after_a_failure_doubles_no_child() -> None:
    """It goes on where the one before it has ended."""
    attempts = itertools.count()

    def flaky(value: int) -> Iterator[int]:
        yield from range(3)
        if next(attempts) < 2:
            raise OSError
        yield 3

    seen = Seen()
    stage = step("a", flaky, expand=True, retry=Retry(max_attempts=3, initial=1, jitter=0))
    report = run_virtually(Pipeline(stage, step("b", same)), [7], seen)
    assert sorted(map(str, seen.ids)) == ["7", "7/0", "7/1", "7/2", "7/3"]
    assert (report.spawned, report.expanded, report.stages[0].retried) == (4, 1, 2)


@pytest.mark.parametrize("error", [OSError(), KeyboardInterrupt(), SystemExit()], ids=repr)
def test_a_call_that_fails_for_good_leaves_its_children(error: BaseException) -> None:
    """These end as they do; also if what was raised is no ``Exception``."""

    def broken(value: int) -> Iterator[int]:
        yield 1
        raise error

    seen = Seen()
    finish(Pipeline(step("a", broken, expand=True), step("b", same)).start([7], seen))
    assert seen.statuses == {7: "failed", "7/0": "written"}
    failure = next(one.error for one in seen.outcomes if one.id == 7)
    assert isinstance(failure, OSError | CallFailed)


def test_a_generator_may_drop_its_item() -> None:
    """Those that it has given go on."""

    def some(value: int) -> Iterator[int]:
        yield 1
        raise Drop("enough")

    seen = Seen()
    report = run_virtually(Pipeline(step("a", some, expand=True)), [7], seen)
    assert seen.statuses == {7: "dropped", "7/0": "written"}
    assert [(one.text, one.count) for one in report.drops] == [("enough", 1)]


def test_the_timeout_is_that_of_each_value() -> None:
    """Three values of 2 s each are no trouble, and one of 5 s is; waiting for room downstream does not count."""

    def slow(value: int) -> Any:
        return reactivex.concat(*(reactivex.timer(float(value)) for _ in range(3)))

    wait = step("b", lambda value: reactivex.timer(30.0), concurrency=1, queue_size=0)
    seen = Seen()
    run_virtually(Pipeline(step("a", slow, expand=True, timeout=4), wait), [2, 5], seen)
    assert seen.statuses == {"2/0": "written", "2/1": "written", "2/2": "written", 2: "expanded", 5: "failed"}


@pytest.mark.parametrize("strategy", ["per_stage", "per_item"])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_endless_generator_is_pulled_as_there_is_room(strategy: Strategy, is_async: bool) -> None:
    """With one slot and no place behind it: one value is inside, one waits for its place; then the run is aborted."""
    given = itertools.count()
    block = Block()

    def endless(value: int) -> Iterator[int]:
        return iter(lambda: next(given), -1)

    async def endless_later(value: int) -> AsyncIterator[int]:
        while True:
            yield next(given)

    stage: Stage[Any, Any] = step("a", endless_later if is_async else endless, expand=True, concurrency=1)
    pipeline = Pipeline(stage, step("b", block, concurrency=1, queue_size=0), strategy=strategy, concurrency=1)
    run = pipeline.start([1])
    block.wait_for(1)
    until(lambda: run.spawned == 2)
    assert next(given) <= 3
    run.abort()
    block.may_return.set()
    report = finish(run)
    assert report.taken + report.spawned == report.cancelled + report.written


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_a_hundred_thousand_children_need_no_memory(scheduler: Scheduler) -> None:
    """Few of their values are alive at any time."""

    class Value:
        pass

    alive: weakref.WeakSet[Value] = weakref.WeakSet()
    most = 0

    def many(value: int) -> Iterator[Value]:
        nonlocal most
        for number in range(100_000 if scheduler == "asyncio" else 20_000):
            alive.add(one := Value())
            if number % 100 == 0:
                most = max(most, len(alive))
            yield one

    async def many_later(value: int) -> AsyncIterator[Value]:
        for one in many(value):
            yield one

    async def pass_on(value: Any) -> Any:
        return value

    first: Stage[Any, Any] = step("a", many_later if scheduler == "asyncio" else many, expand=True)
    second: Stage[Any, Any] = step("b", pass_on if scheduler == "asyncio" else same, concurrency=3, queue_size=5)
    report = Pipeline(first, second, scheduler=scheduler).run([1])
    assert report.written == report.spawned == (100_000 if scheduler == "asyncio" else 20_000)
    assert most < 2_000  # until the garbage collector comes
    assert report.most_in_flight < 40


def test_children_may_have_children() -> None:
    """The root ends last."""
    seen = Seen()
    stages = [step(name, lambda value: [value, value], expand=True) for name in "abc"]
    first, *others = stages
    report = run_virtually(Pipeline(first, *others), [1], seen)
    assert (report.written, report.expanded, report.spawned) == (8, 7, 14)
    assert "1/0/1/0" in seen.ids
    assert seen.ids[-1] == 1


def test_a_stop_lets_children_finish() -> None:
    """No more IDs are taken; what is there ends, children that come later included."""
    block = Block()
    run = Pipeline(step("a", letters, expand=True, concurrency=1), step("b", block)).start(itertools.count())
    block.wait_for(2)
    run.stop()
    block.may_return.set()
    report = finish(run)
    assert (report.cancelled, report.written) == (0, report.spawned)
    assert report.expanded == report.taken


def test_a_call_that_stops_the_run_cuts_off_parents() -> None:
    """Its item, and what waits for it, count as cancelled."""

    def stop(value: str) -> str:
        if value == "b":
            raise StopRun("enough")
        return value

    seen = Seen()
    run, scheduler = virtual(Pipeline(step("a", letters, expand=True), step("b", stop, concurrency=1)), [1], seen)
    scheduler.start()
    assert isinstance(run.finished.exception(), StopRun)
    assert (run.taken, run.spawned, run.written, run.cancelled) == (1, 2, 1, 2)


@pytest.mark.parametrize("way", ["dispose", "abort"])
def test_everything_is_accounted_for_when_it_is_cut_off(way: str) -> None:
    """Parents and children are cancelled."""
    block = Block()
    run = Pipeline(step("a", letters, expand=True), step("b", block)).start([1, 2])
    block.wait_for(3)
    run.abort() if way == "abort" else run.subscription.dispose()
    block.may_return.set()
    assert run.finished.cancelled() if way == "dispose" else finish(run)
    assert run.taken + run.spawned == run.cancelled + run.written + run.expanded


def test_iterators_that_hang_take_slots() -> None:
    """Threads that are abandoned in the midst of a value are bounded, as those of plain calls are."""
    may_end, inside = threading.Event(), list[int]()

    def hang(value: int) -> Iterator[int]:
        inside.append(value)
        assert may_end.wait(LIMIT)
        yield value

    stage = step("a", hang, expand=True, concurrency=2, timeout=0.01, max_abandoned=1, queue_size=100)
    run = Pipeline(stage).start(range(20))
    assert isinstance(run.finished.exception(LIMIT), Exception)  # StageStalled
    may_end.set()
    assert len(inside) == 3
    assert run.stages[0].abandoned == 3


def twice(value: int) -> list[int]:
    return [value, value]


def doubled(values: list[int]) -> list[int]:
    return [2 * value for value in values]


@pytest.mark.slow
def test_lists_come_from_processes() -> None:
    """Those of a stage that expands, and those for a batch."""
    executor = Processes(1)
    stages = (
        step("a", twice, expand=True, executor=executor),
        step("b", doubled, batch=Batch(max_items=4), executor=executor),
    )
    report = Pipeline(*stages).run(range(4))
    assert (report.written, report.expanded) == (8, 4)


# Open pipelines


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_a_submission_ends_when_all_descendants_have(scheduler: Scheduler) -> None:
    """It is told of then, and not before."""
    block = Block({"b"})
    pipeline = Pipeline(step("a", letters, expand=True), step("b", block), scheduler=scheduler)
    with pipeline.open() as running:
        submission = running.submit(1)
        block.wait_for(1)
        until(lambda: running.report().written == 1)
        assert not submission.done()
        block.may_return.set()
        assert submission.result(LIMIT).status == "expanded"


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_a_parent_that_is_cancelled_cancels_its_children(scheduler: Scheduler) -> None:
    """Those that wait are not called with."""
    block = Block()
    pipeline = Pipeline(
        step("a", lambda value: range(5), expand=True), step("b", block, concurrency=1), scheduler=scheduler
    )
    with pipeline.open() as running:
        submission = running.submit(1)
        block.wait_for(1)
        until(lambda: running.report().spawned == 5)
        assert submission.cancel()
        assert submission.result(LIMIT).status == "cancelled"
        block.may_return.set()
    report = running.report()
    assert (report.cancelled, report.written) == (6, 0)
    assert len(block.inside) == 1


def test_an_id_like_that_of_a_child_is_another_item() -> None:
    """The child's end is not that of whoever submitted such an ID."""
    block = Block({"slow"})

    def children(value: Any) -> list[Any]:
        return ["child"] if value == 17 else ["slow"]

    with Pipeline(step("a", children, expand=True), step("b", block)).open() as running:
        other = running.submit("17/0")
        block.wait_for(1)
        assert running.submit(17).result(LIMIT).status == "expanded"
        assert not other.done()
        block.may_return.set()
        assert other.result(LIMIT).status == "expanded"
