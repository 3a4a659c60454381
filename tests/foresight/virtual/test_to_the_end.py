"""Simulated runs that end, and one that never would."""

from __future__ import annotations

import pytest

from rxpipe import Pipeline, Stage
from rxpipe.foresight.virtual.to_the_end import endless, let_happen
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.pipeline.run.run import Run


class Busy(Exception):
    """The server refuses a call for now."""

    uses_attempt = False
    retry_after = 2.0


def begun(refusals: float) -> tuple[VirtualTime, Run]:
    """A run of 30 items in virtual time, each of which is refused so often."""
    left = dict.fromkeys(range(30), refusals)

    def call(value: int) -> int:
        left[value] -= 1
        if left[value] >= 0:
            raise Busy
        return value

    time = VirtualTime()
    return time, Pipeline(Stage("ask", call, concurrency=16)).start(range(30), scheduler=time)


def test_a_run_that_is_refused_often_ends() -> None:
    time, run = begun(refusals=200)
    assert let_happen(time, run)
    assert run.finished.result(0).written == 30


def test_a_run_that_is_refused_for_ever_has_no_end() -> None:
    time, run = begun(refusals=float("inf"))
    assert not let_happen(time, run)
    assert endless(run) == "the run would never end: the server refuses all calls of stage ask"
    run.subscription.dispose()


def test_it_is_ended_from_outside() -> None:
    """By what ``pause`` raises, soon."""
    time, run = begun(refusals=float("inf"))
    looks: list[float] = []

    def pause() -> None:
        looks.append(time.seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        let_happen(time, run, pause)
    run.subscription.dispose()
