"""Stages and a sink that record the times of calls and commits, and stages that take longer than their functions.

Between the stages, each value travels with the ID of its item, so that a call knows its item. The sink gets the bare
value. All this costs about a microsecond per call.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe.devtools.compare.least_time import StagePlan
from rxpipe.devtools.compare.timeline import Call, Commit, StageTimeline, Timeline
from rxpipe.operators.errors import StageTimeout
from rxpipe.operators.stage import is_coroutine_function
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.ports import Sink, Write
from rxpipe.pipeline.stage import Stage
from rxpipe.pipeline.views import ItemView


class _Carried:
    """A value between two stages, with the ID of its item."""

    __slots__ = ("item", "value")

    def __init__(self, item: int | str, value: Any) -> None:
        self.item = item
        self.value = value


class _Entry:
    """A call that is being made. The thread that makes it writes to it."""

    __slots__ = ("began", "ended", "item", "ok", "timed_out")

    def __init__(self, item: int | str, began: float) -> None:
        self.item = item
        self.began = began
        self.ended = math.inf
        self.ok = False
        self.timed_out = False  # set by the stage; by the clock alone, a late call that still counts looks the same

    def end(self, ok: bool) -> None:
        self.ended = time.perf_counter()
        self.ok = ok


class Recorder:
    """Records the calls and commits of one run."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """Prepare to record the calls of these stages."""
        self._stages = stages
        self._entries: list[list[_Entry]] = [[] for _ in stages]
        self._latest: dict[tuple[str, int | str], _Entry] = {}  # by the stage's name and the item's ID
        self._commits: list[tuple[int | str, float, bool]] = []

    def stages(self, plans: Sequence[StagePlan], scheduler: Scheduler) -> list[Stage]:
        """Returns the stages, with recorded calls that take the latency of their plan.

        The latency comes before the function's own time. There is one exception: a plain function of a pipeline on
        asyncio runs on a worker thread, as always, so that a blocking function can time out and holds nobody up. Then
        the latency is awaited on the loop, as a coroutine function would await a model's answer.
        """
        return [
            replace(stage, call=self._wrap(index, stage.call, plan.latency, scheduler), cache=False)
            for index, (stage, plan) in enumerate(zip(self._stages, plans, strict=True))
        ]

    @property
    def listener(self) -> Listener:
        """The listener for the pipeline. It records which calls have timed out."""
        return _TimedOut(self._latest)

    def sink(self, sink: Sink) -> Sink:
        """Returns the sink, with recorded commits."""
        return _RecordingSink(sink, self._commits)

    def timeline(self, zero: float, seconds: float, slots: Sequence[int]) -> Timeline:
        """Returns the records so far.

        Args:
            zero: When the run began, by ``time.perf_counter``.
            seconds: The run's duration in seconds. A call that still runs is cut off there. A call that timed out ends
                at that moment, though its thread may go on: its slot has been given to another call.
            slots: How many calls could run at once, in each stage.
        """
        end = zero + seconds
        stages = [
            StageTimeline(name=stage.name, slots=slot, calls=tuple(_calls(entries, zero, end, stage.timeout)))
            for stage, slot, entries in zip(self._stages, slots, self._entries, strict=True)
        ]
        commits = tuple(Commit(item, min(at, end) - zero, written) for item, at, written in self._commits)
        return Timeline(seconds=seconds, stages=tuple(stages), commits=commits)

    def _wrap(self, index: int, fn: Callable[[Any], Any], latency: float, scheduler: Scheduler) -> Callable[[Any], Any]:
        note, name = self._entries[index].append, self._stages[index].name
        is_last = index == len(self._stages) - 1

        def begin(value: Any) -> tuple[_Entry, Any]:
            item, value = (value.item, value.value) if isinstance(value, _Carried) else (value, value)
            entry = _Entry(item, time.perf_counter())
            note(entry)
            self._latest[name, item] = entry
            return entry, value

        def pack(entry: _Entry, result: Any) -> Any:
            return result if is_last else _Carried(entry.item, result)

        def returned(entry: _Entry, result: Any) -> Any:
            if _is_observable(result):
                return _followed(result, entry, pack)
            entry.end(True)
            return pack(entry, result)

        async def call_coroutine(value: Any) -> Any:
            entry, value = begin(value)
            try:
                if latency:
                    await asyncio.sleep(latency)
                result = await fn(value)
            except BaseException:
                entry.end(False)
                raise
            return returned(entry, result)

        def call(value: Any) -> Any:
            entry, value = begin(value)
            try:
                if latency and scheduler == "threads":
                    time.sleep(latency)
                result = fn(value)
            except BaseException:
                entry.end(False)
                raise
            rest = latency if scheduler == "asyncio" else 0.0
            if rest or _is_awaitable(result):
                return _Later(result, rest, entry, returned)
            return returned(entry, result)

        return call_coroutine if is_coroutine_function(fn) else call


class _TimedOut(Listener):
    def __init__(self, latest: Mapping[tuple[str, int | str], _Entry]) -> None:
        self._latest = latest

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        entry = self._latest.get((stage, item.id))
        if entry is not None and isinstance(error, StageTimeout):
            entry.timed_out = True


class _Later:
    """The rest of a call, to be awaited: a latency, an awaitable that the function returned, or both.

    It is no coroutine: one that is never awaited, since its call has timed out meanwhile, would cause a warning.
    """

    __slots__ = ("_entry", "_latency", "_result", "_returned")

    def __init__(self, result: Any, latency: float, entry: _Entry, returned: Callable[[_Entry, Any], Any]) -> None:
        self._result = result
        self._latency = latency
        self._entry = entry
        self._returned = returned

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._wait().__await__()

    async def _wait(self) -> Any:
        result = self._result
        try:
            if self._latency:
                await asyncio.sleep(self._latency)
            if _is_awaitable(result):
                result = await result
        except BaseException:
            self._entry.end(False)
            raise
        return self._returned(self._entry, result)


def _followed(source: Observable[Any], entry: _Entry, pack: Callable[[_Entry, Any], Any]) -> Observable[Any]:
    """Returns an Observable that a function returned, recorded: the call ends when the Observable ends."""

    def to_packed(value: Any) -> Any:
        return pack(entry, value)

    def complete() -> None:
        entry.end(True)

    def end() -> None:
        if not entry.ok:
            entry.end(False)

    packed: Observable[Any] = source.pipe(rx_ops.map(to_packed))
    noted: Observable[Any] = packed.pipe(rx_ops.do_action(on_completed=complete))
    return noted.pipe(rx_ops.finally_action(end))


def _is_observable(result: object) -> TypeGuard[Observable[Any]]:
    return isinstance(result, Observable)


def _is_awaitable(result: object) -> TypeGuard[Awaitable[Any]]:
    return isinstance(result, Awaitable)


class _RecordingSink:
    """A sink with recorded commits."""

    def __init__(self, sink: Sink, commits: list[tuple[int | str, float, bool]]) -> None:
        self._sink = sink
        self._commits = commits

    def open(self) -> Write:
        """Open the sink itself."""
        write = self._sink.open()

        def write_and_note(outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
            return write(outcomes.pipe(rx_ops.map(_bare))).pipe(rx_ops.do_action(self._note))

        return write_and_note

    def _note(self, outcome: Outcome[Any]) -> None:
        self._commits.append((outcome.id, time.perf_counter(), outcome.status == "written"))


def _bare(outcome: Outcome[Any]) -> Outcome[Any]:
    """Returns the outcome with the bare value of a failed item."""
    return replace(outcome, value=outcome.value.value) if isinstance(outcome.value, _Carried) else outcome


def _calls(entries: list[_Entry], zero: float, end: float, timeout: float | None) -> Generator[Call]:
    allowed = math.inf if timeout is None else timeout
    for entry in list(entries):  # an abandoned thread may still add entries
        if entry.began <= end:
            ended = min(entry.ended, entry.began + allowed if entry.timed_out else math.inf, end)
            yield Call(entry.item, entry.began - zero, ended - zero, entry.ok and ended == entry.ended)
