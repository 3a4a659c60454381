"""The arithmetic bank with waits and faults like those of calls to a model. Use it to rehearse a run without a model.

Each function returns the same as its namesake in ``rxpipe.questions.arithmetic``. Before that the function waits as
long as a call might take. Now and then the function fails, or is refused as by a 429. The seed, the stage, the ID and
the attempt decide the waits, faults and wrong answers, so that every run gives the same rows.

Example::

    from functools import partial

    from rxpipe import Pipeline, Retry, Stage
    from rxpipe.questions.rehearsed import answer, generate, grade, without_waits

    pipeline = Pipeline(
        Stage("generation", generate, concurrency=32, retry=Retry()),
        Stage("answering", partial(answer, latency=2.0), concurrency=64, retry=Retry()),
        Stage("grading", grade, concurrency=32, retry=Retry()),
        scheduler="asyncio",
    )
    with without_waits():
        report = pipeline.run(range(100))
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from statistics import NormalDist
from typing import Annotated, TypeAlias

from pydantic import Field

from rxpipe.llm.errors import LLMError, RateLimited, Unavailable
from rxpipe.operators.core.running_call import will_retry
from rxpipe.questions import arithmetic
from rxpipe.questions.arithmetic import Answered, Graded, Question
from rxpipe.questions.inputs import takes

__all__ = ["answer", "generate", "grade", "is_rehearsed", "without_waits"]

Seconds: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]

_SPREAD = 0.5  # the standard deviation of the logarithm of a call's seconds
_RETRY_AFTER = 1.0  # seconds that a refusal asks to wait
_QUICKER = 10  # a call that fails ends this many times sooner

_state = {"waits": True}
_failures: dict[tuple[str, int | str], int] = {}  # of questions whose latest call has failed


async def generate(
    question_id: int | str, *, latency: Seconds = 0.3, faults: Share = 0.03, busy: Share = 0.01, seed: int = 1
) -> Question:
    """Write the question that belongs to an ID, after a wait.

    Args:
        question_id: The ID.
        latency: The mean seconds of a call. Each call's seconds are drawn from a lognormal distribution.
        faults: The share of calls, 0 to 1, that fail and are worth another attempt.
        busy: The share of calls, 0 to 1, that are refused for now, as by a 429. These use up no attempt.
        seed: Another seed draws other waits and faults.

    Raises:
        LLMError: The call drew a fault or a refusal.
    """
    await _call("generation", question_id, latency, faults, busy, seed)
    return arithmetic.generate(question_id)


@takes("question")
async def answer(
    question: Question,
    *,
    latency: Seconds = 0.6,
    faults: Share = 0.03,
    busy: Share = 0.01,
    mistakes: Share = 0.1,
    seed: int = 1,
) -> Answered:
    """Solve a question, after a wait; now and then wrongly.

    Args:
        question: The question.
        latency: The mean seconds of a call. Each call's seconds are drawn from a lognormal distribution.
        faults: The share of calls, 0 to 1, that fail and are worth another attempt.
        busy: The share of calls, 0 to 1, that are refused for now, as by a 429. These use up no attempt.
        mistakes: The share of questions, 0 to 1, whose answer is wrong.
        seed: Another seed draws other waits, faults and mistakes.

    Raises:
        LLMError: The call drew a fault or a refusal.
        UnreadableQuestion: The text has no known wording, or no answer.
        WrongInput: The value is not usable.
    """
    answered = arithmetic.answer(question)
    await _call("answering", question.id, latency, faults, busy, seed)
    if _dice(seed, "mistake", question.id).random() >= mistakes:
        return answered
    wrong = re.sub(r"[0-9]+", lambda number: str(int(number[0]) + 1), answered.answer, count=1)
    return replace(answered, answer=wrong)


@takes("reference", "answer")
async def grade(
    answered: Answered, *, latency: Seconds = 0.25, faults: Share = 0.03, busy: Share = 0.01, seed: int = 1
) -> Graded:
    """Compare an answer with the reference, after a wait.

    Args:
        answered: The question and its answer.
        latency: The mean seconds of a call. Each call's seconds are drawn from a lognormal distribution.
        faults: The share of calls, 0 to 1, that fail and are worth another attempt.
        busy: The share of calls, 0 to 1, that are refused for now, as by a 429. These use up no attempt.
        seed: Another seed draws other waits and faults.

    Raises:
        LLMError: The call drew a fault or a refusal.
        WrongInput: The value is not usable.
    """
    graded = arithmetic.grade(answered)
    await _call("grading", answered.id, latency, faults, busy, seed)
    return graded


def is_rehearsed(call: str) -> bool:
    """Returns True if a config's ``call`` names a function of this module."""
    return call.partition(":")[0] == __name__


@contextmanager
def without_waits() -> Generator[None]:
    """Leave out waits, faults and refusals in this process. Use this for tests and quick runs.

    The rows are the same.
    """
    before = _state["waits"]
    _state["waits"] = False
    try:
        yield
    finally:
        _state["waits"] = before


async def _call(stage: str, number: int | str, latency: float, faults: float, busy: float, seed: int) -> None:
    """Wait as long as a call takes, or raise the fault or refusal that was drawn."""
    if not _state["waits"]:
        return
    failed = _failures.get((stage, number), 0)
    dice = _dice(seed, stage, number, failed)
    fate, size = dice.random(), NormalDist().inv_cdf(max(1e-9, dice.random()))
    seconds = latency * math.exp(_SPREAD * size - _SPREAD**2 / 2)
    if fate < busy:
        refused = RateLimited("429: too many requests (a rehearsed refusal)")
        refused.retry_after = _RETRY_AFTER
        _fail(stage, number, failed, refused)
    if fate < busy + faults:
        await asyncio.sleep(seconds / _QUICKER)
        _fail(stage, number, failed, Unavailable("503: the server is overloaded (a rehearsed fault)"))
    await asyncio.sleep(seconds)
    _failures.pop((stage, number), None)


def _fail(stage: str, number: int | str, failed: int, error: LLMError) -> None:
    if will_retry(error):
        _failures[stage, number] = failed + 1
    else:
        _failures.pop((stage, number), None)
    raise error


def _dice(seed: int, *what: object) -> Random:
    # A string as a seed gives the same numbers in every version and process.
    return Random(f"rehearsed {seed} {' '.join(map(str, what))}")
