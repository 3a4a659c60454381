"""Open pipelines in a child that was forked since: none of their threads is there."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, Block, same

from rxpipe import Pipeline, PipelineClosed, Stage
from rxpipe.pipeline.open import OpenPipeline, Submission
from rxpipe.pipeline.plan import Scheduler

REFUSED = "PipelineClosed: the pipeline was opened in another process, before a fork: open one in this process"


def in_child(act: Callable[[], object]) -> str:
    """What comes of it in a child of this process: what it returns or raises, as text."""
    here, there = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is the point
        child = os.fork()
    if not child:
        try:
            try:
                text = str(act())
            except BaseException as error:  # noqa: BLE001 - told to the parent
                text = f"{type(error).__name__}: {error}"
            os.write(there, text.encode())
        finally:
            os._exit(0)
    os.close(there)
    with open(here, "rb") as told:
        text = told.read().decode()
    os.waitpid(child, 0)
    return text


async def awaited(submission: Submission) -> Any:
    return await submission


ACTS: dict[str, Callable[[OpenPipeline, Submission], object]] = {
    "submit": lambda running, submission: running.submit(2),
    "submit_nowait": lambda running, submission: running.submit_nowait(2),
    "outcomes": lambda running, submission: running.outcomes,
    "events": lambda running, submission: running.events,
    "result": lambda running, submission: submission.result(LIMIT),
    "await": lambda running, submission: asyncio.run(awaited(submission)),
    "cancel": lambda running, submission: submission.cancel(),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_child_is_refused_at_once(scheduler: Scheduler) -> None:
    """Whatever it asks for that would never come; the parent takes no notice."""
    block = Block()
    with Pipeline(Stage("a", block), scheduler=scheduler).open() as running:
        submission = running.submit(1)
        block.wait_for(1)
        for name, act in ACTS.items():
            assert in_child(partial(act, running, submission)) == REFUSED, name
        assert in_child(lambda: running.health().reason) == REFUSED.removeprefix("PipelineClosed: ")
        block.may_return.set()
        assert submission.result(LIMIT).status == "written"
        assert in_child(lambda: submission.result().status) == "written"
        assert running.submit(2).result(LIMIT).status == "written"


@pytest.mark.parametrize("way", ["with", "async with"])
def test_a_child_leaves_the_context_at_once(way: str) -> None:
    """There is nothing to wait for; it may open a pipeline of its own."""
    block = Block()
    pipeline = Pipeline(Stage("a", block))

    def leave(running: OpenPipeline) -> str:
        if way == "with":
            running.__exit__(None, None, None)
        else:
            asyncio.run(running.__aexit__(None, None, None))
        with Pipeline(Stage("a", same)).open() as own:
            return own.submit(3).result(LIMIT).status

    with pipeline.open() as running:
        submission = running.submit(1)
        block.wait_for(1)
        assert in_child(lambda: leave(running)) == "written"
        block.may_return.set()
    assert submission.result(LIMIT).status == "written"


def test_what_was_made_before_the_fork_may_be_opened_after_it() -> None:
    """What counts is where it is opened."""
    opening = Pipeline(Stage("a", same)).open()

    def use() -> str:
        with opening as running:
            return running.submit(1).result(LIMIT).status

    assert in_child(use) == "written"
    with pytest.raises(PipelineClosed, match="not open"):
        opening.submit(1)
    assert use() == "written"
