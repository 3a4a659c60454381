"""Pipelines whose stages call a language model, for tests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from odd_llm import replying
from pipeline_helpers import LIMIT, Seen

from rxpipe import Outcome, Pipeline, Retry, Stage, StopRun
from rxpipe.llm import Provider
from rxpipe.pipeline.plan import Scheduler
from rxpipe.questions.llm import answer, generate, grade
from rxpipe.questions.llm.values import WrittenAnswer

CALLS: dict[str, Callable[..., Any]] = {"generation": generate, "answering": answer, "grading": grade}
GOOD = replying('{"answer": "7"}')
SOON = Retry(max_attempts=3, initial=0, max_delay=0)


async def ask(number: int, *, provider: Provider) -> str:
    """A stage that asks for an answer."""
    messages = [{"role": "user", "content": f"<question>How much is {number} + 1?</question>"}]
    return (await provider.ask(messages, WrittenAnswer)).answer


def asking(provider: Provider, scheduler: Scheduler = "threads", **options: Any) -> Pipeline:
    """A pipeline of one stage that asks."""
    settings: dict[str, Any] = {"retry": SOON, "concurrency": 4, **options}
    return Pipeline(Stage("asking", partial(ask, provider=provider), **settings), scheduler=scheduler)


def bank(provider: Provider, scheduler: Scheduler = "threads", **options: Any) -> Pipeline:
    """The question bank."""
    settings: dict[str, Any] = {"retry": SOON, "concurrency": 4, **options}
    stages = (Stage(name, partial(call, provider=provider), **settings) for name, call in CALLS.items())
    return Pipeline(*stages, scheduler=scheduler)


def outcomes(pipeline: Pipeline, source: Any) -> dict[Any, Outcome[Any]]:
    """How each item ended."""
    seen = Seen()
    run = pipeline.start(source, seen)
    with suppress(StopRun):
        run.finished.result(LIMIT)
    return {outcome.id: outcome for outcome in seen.outcomes}
