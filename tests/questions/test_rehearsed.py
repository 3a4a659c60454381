"""The arithmetic bank with waits and faults: what it returns, how often it fails, and that attempts heal that."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import fmean
from typing import Any

import pytest
from odd_llm import Call
from virtual_loop import VirtualLoop

from rxpipe import Pipeline, Stage
from rxpipe.llm import LLMError, RateLimited, Unavailable
from rxpipe.operators.core.running_call import running_call
from rxpipe.questions import arithmetic, rehearsed
from rxpipe.questions.rehearsed import answer, generate, grade, is_rehearsed, without_waits


def virtually(work: Awaitable[Any], *, last: bool = False) -> tuple[Any, float]:
    """What a call gives or raises, and how many seconds it took."""

    async def within() -> tuple[Any, float]:
        running_call.set(Call(last=last))
        began = asyncio.get_running_loop().time()
        try:
            result = await work
        except LLMError as error:
            result = error
        return result, asyncio.get_running_loop().time() - began

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(within())
    finally:
        loop.close()


async def all_calls(call: Callable[[Any], Awaitable[Any]], values: list[Any]) -> tuple[list[Any], Counter[str], int]:
    """The results, the errors by name, and the most attempts that one value took."""
    errors: Counter[str] = Counter()

    async def until_good(value: Any) -> tuple[Any, int]:
        running_call.set(Call())
        attempts = 1
        while True:
            try:
                return await call(value), attempts
            except LLMError as error:
                errors[type(error).__name__] += 1
                attempts += isinstance(error, Unavailable)

    found = await asyncio.gather(*map(until_good, values))
    return [one for one, _ in found], errors, max(attempts for _, attempts in found)


def test_a_thousand_questions_are_healed_by_three_attempts() -> None:
    """The rows are those of the arithmetic bank, but for the wrong answers; and the same in the next run."""

    async def bank() -> list[Any]:
        values: list[Any] = list(range(1, 1001))
        for call in (generate, answer, grade):
            values, errors, attempts = await all_calls(call, values)
            assert attempts <= 3
            assert 10 < errors["Unavailable"] < 60
            assert 1 < errors["RateLimited"] < 30
        return values

    runs: list[list[Any]] = []
    for _ in range(2):
        loop = VirtualLoop()
        runs.append(loop.run_until_complete(bank()))
        loop.close()
    assert runs[0] == runs[1]
    assert [one.question for one in runs[0]] == [arithmetic.generate(number).question for number in range(1, 1001)]
    wrong = Counter(one.verdict for one in runs[0])["wrong"]
    assert 60 < wrong < 140
    assert rehearsed._failures == {}  # pyright: ignore[reportPrivateUsage]


def test_calls_take_as_long_as_the_latency_says_on_average() -> None:
    """Each for itself, and the same in every run."""
    call = partial(generate, faults=0, busy=0, latency=2.0)
    seconds = [virtually(call(number))[1] for number in range(200)]
    assert fmean(seconds) == pytest.approx(2.0, rel=0.15)
    assert max(seconds) > 2 * min(seconds)
    assert virtually(call(7))[1] == pytest.approx(seconds[7])


def test_faults_and_refusals_say_what_they_are() -> None:
    """A refusal uses no attempt, and asks for a rest; a fault does not last."""
    refused, seconds = virtually(generate(1, busy=1))
    assert isinstance(refused, RateLimited)
    assert (refused.retry_after, seconds) == (1.0, 0.0)
    failed, seconds = virtually(generate(2, faults=1, busy=0))
    assert isinstance(failed, Unavailable)
    assert 0 < seconds < 0.2
    assert "rehearsed" in f"{refused} {failed}"
    for number in (1, 2):  # the last attempt leaves nothing behind
        virtually(generate(number, busy=1), last=True)


def test_without_waits_nothing_befalls_a_call() -> None:
    """The rows are the same; afterwards there are waits again, also if something was raised."""

    def hurried() -> None:
        with without_waits():
            found, seconds = virtually(generate(3, busy=1))
            assert (found.id, seconds) == (3, 0)
            raise KeyError

    with pytest.raises(KeyError):
        hurried()
    assert virtually(generate(3, busy=0, faults=0))[1] > 0


def test_only_its_own_functions_are_rehearsed() -> None:
    """By the name in a config."""
    assert is_rehearsed("rxpipe.questions.rehearsed:answer")
    assert not is_rehearsed("rxpipe.questions.arithmetic:answer")


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_it_runs_on_both_schedulers(scheduler: Any) -> None:
    """As any coroutine functions."""
    with without_waits():
        stages = Stage("generation", generate), Stage("answering", answer), Stage("grading", grade)
        assert Pipeline(*stages, scheduler=scheduler).run(range(20)).written == 20
