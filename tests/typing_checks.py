"""What type checkers make of the public names: read by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any, assert_type

import reactivex
from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe import (
    Batch,
    Children,
    DatabaseSink,
    Drop,
    Event,
    Health,
    OpenPipeline,
    Outcome,
    Pipeline,
    RateLimiter,
    Record,
    Report,
    Retry,
    SendBack,
    Stage,
    Submission,
    content_id,
    deadline,
    from_async_iterable,
    from_iterable,
    from_records,
    to_async_iterable,
)
from rxpipe import operators as ops
from rxpipe.llm import Provider
from rxpipe.questions.llm import Answered, Graded, Question, answer, generate, generate_several, grade


def length(text: str) -> int:
    return len(text)


async def length_later(text: str) -> int:
    return len(text)


def letters(text: str) -> Observable[bytes]:
    return reactivex.of(text.encode())


async def letters_later(text: str) -> Observable[bytes]:
    return letters(text)


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


def lines(text: str) -> list[str]:
    return text.split()


def numbers(text: str) -> Iterator[int]:
    yield len(text)


async def numbers_later(text: str) -> AsyncIterator[int]:
    yield len(text)


async def lines_later(text: str) -> list[str]:
    return text.split()


def records(text: str) -> Iterator[Record[int]]:
    yield Record("a", len(text))


def longest(children: Children[int]) -> float:
    return max(children.values) / 2


async def longest_later(children: Children[int]) -> float:
    return max(children.values) / 2


def lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


async def lengths_later(texts: list[str]) -> list[int | ValueError]:
    return [len(text) if text else ValueError("empty") for text in texts]


def checked(text: str) -> int | Drop:
    return len(text) or Drop("empty")


async def graded_later(text: str) -> int | SendBack:
    return len(text) or SendBack("generation", "empty")


def many_values() -> None:
    """A stage that expands is one to what it gives many of."""
    assert_type(words.pipe(ops.stage(lines, expand=True)), Observable[str])
    assert_type(words.pipe(ops.stage(numbers, expand=True, concurrency=2)), Observable[int])
    assert_type(words.pipe(ops.expand(numbers_later)), Observable[int])
    assert_type(words.pipe(ops.expand(letters, ordered=True)), Observable[bytes])
    assert_type(words.pipe(ops.expand(lines_later)), Observable[str])
    assert_type(words.pipe(ops.stage(lengths, batch=ops.Batch(max_items=3))), Observable[int])
    assert_type(Stage("lines", lines, expand=True), Stage[str, str])
    assert_type(Stage("lines", lines_later, expand=True), Stage[str, str])
    assert_type(Stage("numbers", numbers, expand=True), Stage[str, int])
    assert_type(Stage("numbers", numbers_later, expand=True), Stage[str, int])
    assert_type(Stage("records", records, expand=True), Stage[str, int])
    assert_type(Stage("letters", letters, expand=True), Stage[str, bytes])
    assert_type(Stage("letters", letters_later, expand=True), Stage[str, bytes])


def many_items() -> None:
    """Those that come together, as children or in a batch."""
    assert_type(Stage("longest", longest, collect=True), Stage[int, float])
    assert_type(Stage("longest", longest_later, collect=True), Stage[int, float])
    assert_type(Stage("lengths", lengths, batch=Batch(max_items=3)), Stage[str, int])
    assert_type(Pipeline(Stage("n", numbers, expand=True), Stage("m", longest, collect=True)), Pipeline[str, float])


def decisions() -> None:
    """What a function decides is no result."""
    assert_type(Stage("checked", checked), Stage[str, int])
    assert_type(Stage("graded", graded_later), Stage[str, int])
    assert_type(Pipeline(Stage("checked", checked), Stage("half", half)), Pipeline[str, float])


async def values_of_records(rows: list[str]) -> None:
    """The first stage gets the value of a record."""
    pipeline = Pipeline(Stage("length", length))
    pipeline.run(from_records(rows, id=content_id))
    pipeline.run(Record(number, row) for number, row in enumerate(rows))
    await pipeline.run_async([Record(1, "a")])
    async with pipeline.open() as running:
        assert_type(await running.submit(Record(17, "a")), Outcome[int])
        assert_type(await running.submit(17, "a"), Outcome[int])
        assert_type(await running.submit_nowait(17, "a"), Outcome[int])
        running.submit(17, 18)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]


def question_bank(provider: Provider) -> None:
    """The shipped stages have types, too; but mypy does not look at what a ``functools.partial`` takes."""
    generation = Stage("generation", partial(generate, provider=provider))
    several = Stage("generation", partial(generate_several, provider=provider), expand=True)
    answering = Stage("answering", partial(answer, provider=provider))
    grading = Stage("grading", partial(grade, provider=provider))
    pipeline = Pipeline(generation, answering, grading)
    pipeline.run([1])
    Pipeline(several, answering, grading).run([1])
    pipeline.outcomes([1]).subscribe(graded_row)
    Pipeline(Stage("topic", topic_of), generation, answering, Stage("row", answer_text))
    Pipeline(generation, grading)  # pyright: ignore[reportArgumentType]
    Pipeline(several, grading)  # pyright: ignore[reportArgumentType]
    Pipeline(generation, Stage("lines", lines))  # type: ignore[misc] # pyright: ignore[reportArgumentType]
    Pipeline(several, Stage("lines", lines))  # type: ignore[misc] # pyright: ignore[reportArgumentType]
    Pipeline(answering, Stage("row", score))  # type: ignore[misc] # pyright: ignore[reportArgumentType]


async def question_bank_calls(provider: Provider) -> None:
    """Called directly, both checkers know all of it."""
    question = await generate(1, provider=provider)
    assert_type(question, Question)
    assert_type(await generate(1, provider=provider, per_call=3), list[Question])
    assert_type(await generate_several({"topic": "sums"}, provider=provider), list[Question])
    answered = await answer(question, provider=provider)
    assert_type(answered, Answered)
    assert_type(await answer({"question": "Why?"}, provider=provider), dict[str, Any])
    assert_type(await grade(answered, provider=provider), Graded)
    await grade(question, provider=provider)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]


def topic_of(number: int) -> dict[str, Any]:
    return {"id": number, "topic": "sums"}


def answer_text(answered: Answered) -> str:
    return answered.answer


def score(graded: Graded) -> float | None:
    return graded.score


def graded_row(outcome: Outcome[Graded]) -> None:
    pass


def mistakes() -> None:
    """Both checkers see them: an ignore that is not needed is an error itself."""
    words.pipe(ops.stage(abs))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    ops.stage(length, retries=3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    ops.overflow("drop", 10)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Pipeline(strategy="batch")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    Pipeline(length)  # type: ignore[call-overload] # pyright: ignore[reportArgumentType]
    Pipeline(Stage("a", str), Stage("b", half))  # type: ignore[misc] # pyright: ignore[reportArgumentType]
    Pipeline(Stage("a", length)).run([1])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    Pipeline(Stage("a", lines, expand=True), Stage("b", half))  # type: ignore[misc] # pyright: ignore[reportArgumentType]
    Pipeline(Stage("a", lines), Stage("b", longest, collect=True))  # type: ignore[misc] # pyright: ignore[reportArgumentType]
    Pipeline(Stage("a", half), Stage("b", lengths, batch=Batch()))  # type: ignore[misc] # pyright: ignore[reportArgumentType]
    Pipeline(Stage("a", length)).run([Record(1, 2)])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    Stage("a", length, expand=True)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    ops.stage(length, expand=True)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    Stage("a", length, batch=Batch())  # type: ignore[arg-type] # pyright: ignore[reportCallIssue]
    Stage("a", length, retries=3)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
