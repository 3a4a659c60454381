"""Runs in virtual time whose functions are called, and take as long as somebody says."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from reactivex.abc import DisposableBase

from rxpipe import Pipeline, Stage
from rxpipe.foresight.live.remaining import Remaining
from rxpipe.insight.outlook import Outlook
from rxpipe.operators.core.running_call import running_call
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.operators.core.worker import Call, Function
from rxpipe.pipeline.run.run import Run


class TimedCalls:
    """An executor in virtual time: functions are called when their time is over."""

    queues = False
    cancels = True
    width = math.inf

    def __init__(self, time: VirtualTime, seconds: Callable[[], float]) -> None:
        """Make calls that take so many seconds each."""
        self._time = time
        self._seconds = seconds

    def runner(self) -> TimedCalls:
        """Itself."""
        return self

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Start a call."""

        def end() -> None:
            token = running_call.set(call)
            try:
                result = fn(value)
            except Exception as error:  # noqa: BLE001 - of a test's function
                call.done(False, error)
            else:
                call.done(True, result)
            finally:
                running_call.reset(token)

        return self._time.at(self._time.seconds + self._seconds(), end)

    def close(self) -> None:
        """Nothing to free."""


class Watched:
    """A run in virtual time that is asked what is left of it."""

    def __init__(self, stages: list[tuple[dict[str, Any], Callable[[], float]]], **options: Any) -> None:
        """Describe it.

        Args:
            stages: Each one's options, ``call`` among them if it does something, and the seconds of its calls.
            options: Of the pipeline.
        """
        self.time = VirtualTime()
        make: Any = Stage
        made = [
            make(
                f"s{place}",
                given.get("call", _same),
                executor=TimedCalls(self.time, seconds),
                **{name: value for name, value in given.items() if name != "call"},
            )
            for place, (given, seconds) in enumerate(stages)
        ]
        build: Any = Pipeline
        self.pipeline: Pipeline = build(*made, name="watched", **options)

    def start(self, source: Any, **options: Any) -> Run:
        """Start it."""
        self.run: Run = self.pipeline.start(source, scheduler=self.time, **options)
        return self.run

    def outlook(self, total: int | None, *, at: float) -> Outlook | None:
        """What is said to be left at a time."""
        self.time.run(until=at)
        return Remaining(self.pipeline, total=total).estimate(self.run.snapshot(), self.run.standing())

    def left(self) -> float:
        """What is left in fact."""
        now = self.time.seconds
        self.time.run()
        assert self.run.finished.done()
        return self.run.seconds - now


def around(mean: float, seed: int = 0) -> Callable[[], float]:
    """Seconds that scatter, the same each time."""
    numbers = random.Random(seed)
    return lambda: numbers.uniform(0.5, 1.5) * mean


def always(seconds: float) -> Callable[[], float]:
    """So many seconds."""
    return lambda: seconds


def _same(value: Any) -> Any:
    return value
