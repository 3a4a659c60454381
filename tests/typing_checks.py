"""What type checkers make of the public names: read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, assert_type

import reactivex
from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe import (
    DatabaseSink,
    Event,
    Health,
    OpenPipeline,
    Outcome,
    Pipeline,
    RateLimiter,
    Report,
    Retry,
    Stage,
    Submission,
    deadline,
    from_async_iterable,
    from_iterable,
    to_async_iterable,
)
from rxpipe import operators as ops


def length(text: str) -> int:
    return len(text)


async def length_later(text: str) -> int:
    return len(text)


def letters(text: str) -> Observable[bytes]:
    return reactivex.of(text.encode())


class Client:
    def ask(self, text: str) -> float:
        return 0.0

    async def ask_later(self, text: str) -> float:
        return 0.0


def half(number: int) -> float:
    return number / 2


words: Observable[str] = reactivex.of("a")


def functions() -> None:
    """A stage's results are of what its function returns, or what that gives when awaited or subscribed to."""
    assert_type(words.pipe(ops.stage(length)), Observable[int])
    assert_type(words.pipe(ops.stage(length_later)), Observable[int])
    assert_type(words.pipe(ops.stage(letters)), Observable[bytes])
    assert_type(words.pipe(ops.stage(Client().ask)), Observable[float])
    assert_type(words.pipe(ops.stage(Client().ask_later)), Observable[float])
    assert_type(ops.stage(length), Callable[[Observable[str]], Observable[int]])


def options() -> None:
    """They change nothing of that."""
    limit = RateLimiter(10, burst=2)
    assert_type(
        words.pipe(
            ops.stage(
                length_later,
                name="length",
                concurrency=None,
                queue_size=5,
                timeout=1,
                retry=Retry(max_attempts=2, retry_on=(OSError, ValueError)),
                rate_limit=limit,
                ordered=True,
                max_abandoned=0,
            )
        ),
        Observable[int],
    )


def failure_length(failure: ops.Failure[str]) -> int:
    return len(failure.value)


def recovery() -> None:
    """It is given the item, and gives a result."""
    assert_type(words.pipe(ops.stage(length, recover=failure_length)), Observable[int])
    assert_type(words.pipe(ops.stage(length_later, recover=failure_length)), Observable[int])


def chains() -> None:
    """Types go through a pipe, between operators of either library."""
    assert_type(
        from_iterable(["a", "b"]).pipe(
            ops.stage(length_later, concurrency=2),
            rx_ops.map(half),
            ops.stage(str),
            ops.stage(length),
            ops.batch(10, 0.5),
        ),
        Observable[list[int]],
    )


def other_operators() -> None:
    """Each keeps the type, or says what becomes of it."""
    numbers = from_iterable([1])
    assert_type(numbers, Observable[int])
    assert_type(numbers.pipe(ops.batch(10)), Observable[list[int]])
    assert_type(numbers.pipe(ops.batch(10), ops.unbatch()), Observable[int])
    assert_type(numbers.pipe(ops.retry(Retry())), Observable[int])
    assert_type(numbers.pipe(ops.timeout(1.0)), Observable[int])
    assert_type(numbers.pipe(ops.rate_limit(RateLimiter(1))), Observable[int])
    assert_type(numbers.pipe(ops.overflow("block", 10)), Observable[int])


async def asynchronous(source: AsyncIterator[str]) -> None:
    """In and out."""
    assert_type(from_async_iterable(source), Observable[str])
    assert_type(to_async_iterable(from_async_iterable(source)), AsyncGenerator[str, None])
    async for text in to_async_iterable(words):
        assert_type(text, str)


async def pipelines() -> None:
    """Types go through: from the IDs that the first stage takes to what the last one gives."""
    pipeline = Pipeline(
        Stage("coroutine", length_later, retry=Retry(max_attempts=2), timeout=1),
        Stage("plain", half),
        Stage("builtin", str),
        Stage("observable", letters),
        sink=DatabaseSink("sqlite://"),
        strategy="per_item",
        scheduler="asyncio",
    )
    assert_type(pipeline, Pipeline[str, bytes])
    assert_type(pipeline.run(iter("ab")), Report)
    assert_type(await pipeline.run_async(["a", "b"]), Report)
    assert_type(pipeline.outcomes(words), Observable[Outcome[bytes]])
    async for outcome in pipeline.stream(words):
        assert_type(outcome, Outcome[bytes])
    assert_type(pipeline.start([]).report(), Report)
    assert_type(deadline(), float | None)
    async with pipeline.open(capacity=10) as running:
        assert_type(running, OpenPipeline[str, bytes])
        assert_type(running.submit("a"), Submission[bytes])
        assert_type(await running.submit_nowait("a"), Outcome[bytes])
        assert_type(running.outcomes, Observable[Outcome[bytes]])
        assert_type(running.events, Observable[Event])
        assert_type(running.health(), Health)
    with pipeline.open() as running:
        assert_type(running.submit("a").result(1.0), Outcome[bytes])
    words.subscribe(DatabaseSink("sqlite://"))


def untyped(value: Any) -> Any:
    return value


def stages_of_any_type(given: Sequence[Stage]) -> None:
    """Where nothing is known of a type, nothing is refused."""
    assert_type(Stage("length", length), Stage[str, int])
    assert_type(Pipeline(*given), Pipeline[Any, Any])
    assert_type(Pipeline(Stage("any", untyped), Stage("length", length)), Pipeline[Any, int])
    assert_type(Pipeline(Stage("half", half), Stage("any", untyped)), Pipeline[int, Any])


def outcomes(given: Outcome[int], several: Sequence[Outcome[object]]) -> Outcome[object]:
    """An outcome of an int is one of an object."""
    return given if given.error is None else several[0]


def mistakes() -> None:
    """Both checkers see them: an ignore that is not needed is an error itself."""
    words.pipe(ops.stage(abs))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ops.stage(length, retries=3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    ops.overflow("drop", 10)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Pipeline(strategy="batch")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    Pipeline(length)  # type: ignore[call-overload] # pyright: ignore[reportArgumentType]
    Pipeline(Stage("a", str), Stage("b", half))  # type: ignore[misc] # pyright: ignore[reportArgumentType]
    Pipeline(Stage("a", length)).run([1])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    Stage("a", length, retries=3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
