"""The state machine of a stage, driven at random through a runner, a source and a sink that are made for it.

Each event that it causes is checked against what a simple model allows at that moment, and after each step nothing may
be left undone that could be done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reactivex.abc import DisposableBase, ObserverBase
from reactivex.disposable import Disposable
from reactivex.testing import TestScheduler

from rxpipe.operators import Failure, Retry
from rxpipe.operators.core.clock import SchedulerClock
from rxpipe.operators.core.gate import Gate, announcing
from rxpipe.operators.core.worker import Call
from rxpipe.operators.errors import StageStalled, StageTimeout
from rxpipe.operators.stages.settings import settings_of
from rxpipe.operators.stages.stage_machine import StageMachine

TIMEOUT, DELAY, ATTEMPTS = 10.0, 4.0, 3

Result = tuple[str, int]  # "done" or the name of an error, and the item


class Attempt:
    """A call as the model sees it."""

    def __init__(self, item: int, call: Call, began: float) -> None:
        self.item = item
        self.call = call
        self.began = began
        self.live = True
        self.disposed = False


class Model(ObserverBase[Result]):
    """What may happen; it is the sink, and is told by the runner."""

    def __init__(self, scheduler: TestScheduler, slots: int, allowance: int, room: float, **flags: bool) -> None:
        self.scheduler = scheduler
        self.slots, self.allowance = slots, allowance
        self.cancels, self.ordered, self.recovers, self.times_out = (
            flags[name] for name in ("cancels", "ordered", "recovers", "times_out")
        )
        self.room = room
        self.arrived = 0
        self.attempts: dict[int, int] = {}  # how many there were
        self.waiting: list[int] = []
        self.delayed: dict[int, float] = {}
        self.running: list[Attempt] = []  # those that are live
        self.late: list[Attempt] = []  # those that timed out and have not returned
        self.results: list[Result] = []  # not sent
        self.sent: list[Result] = []
        self.full_since: float | None = None
        self.over = False
        self.source_done = False
        self.expected: type[Exception] | None = None  # what the sequence is about to fail with
        self.error: Exception | None = None
        self.completed = False
        self.violations: list[str] = []  # what must not happen is noted: raised here, it would be taken for a failure

    def check(self, condition: bool, text: str) -> None:
        if not condition:
            self.violations.append(text)

    @property
    def now(self) -> float:
        return float(self.scheduler.clock)

    @property
    def stuck(self) -> int:
        return len(self.late) if self.cancels else max(0, len(self.late) - self.allowance)

    @property
    def free(self) -> int:
        holding = 0 if self.ordered else sum(kind == "done" for kind, _ in self.results)
        return self.slots - self.stuck - len(self.running) - holding

    @property
    def held(self) -> int:
        return self.arrived - len(self.sent)

    def due(self) -> list[int]:
        return [item for item, due in self.delayed.items() if due <= self.now]

    def sendable(self) -> Result | None:
        if not self.results or len(self.sent) >= self.room:
            return None
        if not self.ordered:
            return self.results[0]
        return next((result for result in self.results if result[1] == len(self.sent)), None)

    def arrive(self) -> int:
        self.waiting.append(self.arrived)
        self.arrived += 1
        return self.arrived - 1

    def started(self, item: int, call: Call) -> Attempt:
        self.check(not self.over, "a call is made after the end")
        self.check(self.free > 0, "more calls than slots")
        if item in self.delayed:
            self.check(self.delayed.pop(item) <= self.now, "retried before its delay is over")
        else:
            self.check(self.waiting[:1] == [item], "not the next in the queue")
            self.waiting.remove(item)
            self.check(all(due == self.now for due in map(self.delayed.get, self.due())), "goes ahead of a retry")
        self.attempts[item] = self.attempts.get(item, 0) + 1
        attempt = Attempt(item, call, self.now)
        self.running.append(attempt)
        return attempt

    def disposed(self, attempt: Attempt) -> None:
        attempt.disposed = True
        if self.over or not attempt.live:
            return
        if self.expected is not None or self.error is not None:
            attempt.live = False
            return
        self.check(self.times_out, "cancelled for no reason")
        self.check(self.now == attempt.began + TIMEOUT, "timed out at the wrong time")
        attempt.live = False
        self.running.remove(attempt)
        self.late.append(attempt)
        self.note_full()
        self.failed(attempt.item, StageTimeout)

    def returned(self, attempt: Attempt, ok: bool) -> None:
        if not attempt.live:
            if attempt in self.late:
                self.late.remove(attempt)
                self.note_full()
            return
        attempt.live = False
        self.running.remove(attempt)
        if ok:
            self.results.append(("done", attempt.item))
        else:
            self.failed(attempt.item, ValueError)

    def failed(self, item: int, kind: type[Exception]) -> None:
        if self.attempts[item] < ATTEMPTS:
            self.delayed[item] = self.now + DELAY
        elif self.recovers:
            self.results.append((kind.__name__, item))
        else:
            self.expected = kind

    def note_full(self) -> None:
        if self.stuck < self.slots:
            self.full_since = None
        elif self.full_since is None:
            self.full_since = self.now

    def stall_is_due(self) -> bool:
        return self.full_since is not None and self.now >= self.full_since + TIMEOUT

    def on_next(self, value: Result) -> None:
        self.check(not self.over, "a value after the end")
        self.check(value == self.sendable(), "not the next result, or there is no room")
        self.results.remove(value)
        self.sent.append(value)

    def on_error(self, error: Exception) -> None:
        self.check(not self.over, "ends twice")
        if isinstance(error, StageStalled):
            self.check(
                self.full_since is not None and self.now == self.full_since + TIMEOUT, "stalls at the wrong time"
            )
        else:
            self.check(type(error) is self.expected, "an error for no reason")
        self.error = error
        self.over = True

    def on_completed(self) -> None:
        self.check(not self.over, "ends twice")
        self.check(self.source_done, "completed before the source")
        self.check(self.held == 0, "completed while it held items")
        self.completed = self.over = True


class Runner:
    """Keeps what it is to run; the test decides when that ends."""

    queues = False
    width = math.inf

    def __init__(self, model: Model) -> None:
        self.cancels = model.cancels
        self.closed = False
        self._model = model

    def start(self, fn: Callable[[Any], Any], value: Any, call: Call) -> DisposableBase:
        attempt = self._model.started(value, call)
        return Disposable(lambda: self._model.disposed(attempt))

    def close(self) -> None:
        self.closed = True


class StageSteps(RuleBasedStateMachine):
    """Arrivals, completions, failures, time, the gate downstream, and the end, in any order."""

    @initialize(
        concurrency=st.integers(1, 3),
        queue_size=st.integers(0, 3),
        max_abandoned=st.integers(0, 2),
        room=st.sampled_from([1, 2, math.inf]),
        flags=st.fixed_dictionaries({name: st.booleans() for name in ("cancels", "ordered", "recovers", "times_out")}),
    )
    def subscribe(
        self, concurrency: int, queue_size: int, max_abandoned: int, room: float, flags: dict[str, bool]
    ) -> None:
        self.scheduler = TestScheduler()
        self.model = Model(self.scheduler, concurrency, max_abandoned, room, **flags)
        self.runner = Runner(self.model)
        self.downstream = Gate(room)
        options = settings_of(
            _never_called,
            name="stage",
            concurrency=concurrency,
            queue_size=queue_size,
            timeout=TIMEOUT if flags["times_out"] else None,
            retry=Retry(max_attempts=ATTEMPTS, initial=DELAY, backoff_factor=1, jitter=0),
            rate_limit=None,
            recover=_recover if flags["recovers"] else None,
            max_abandoned=max_abandoned,
            ordered=flags["ordered"],
        )
        self.stats = options.stats
        with announcing(self.downstream):
            self.machine: StageMachine[int, Result] = StageMachine(
                options,
                _Sink(self.model, self.downstream),
                clock=SchedulerClock(self.scheduler),
                runner=self.runner,
                loop_runner=_never_called,
                dispatcher=None,
                scheduler=None,
            )

    @precondition(lambda self: not self.model.over and not self.model.source_done)
    @rule()
    def arrive(self) -> None:
        if self.machine.gate.held < self.machine.gate.capacity:
            self.machine.on_next(self.model.arrive())

    def finish(self, data: st.DataObject, ok: bool) -> None:
        attempt = data.draw(st.sampled_from(self.model.running + self.model.late))
        self.model.returned(attempt, ok)
        attempt.call.done(ok, ("done", attempt.item) if ok else ValueError(attempt.item))

    @precondition(lambda self: self.model.running or self.model.late)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        self.finish(data, ok=True)

    @precondition(lambda self: self.model.running or self.model.late)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.finish(data, ok=False)

    @rule(ticks=st.sampled_from([1, 2, 4, 6, 10]))
    def pass_time(self, ticks: int) -> None:
        self.scheduler.advance_to(self.model.now + ticks)

    @precondition(lambda self: self.downstream.held > 0)
    @rule(count=st.integers(1, 2))
    def make_room(self, count: int) -> None:
        for _ in range(min(count, self.downstream.held)):
            self.model.room += 1
            self.downstream.release()

    @precondition(lambda self: not self.model.over and not self.model.source_done)
    @rule()
    def complete_the_source(self) -> None:
        self.model.source_done = True
        self.machine.on_completed()

    @precondition(lambda self: not self.model.over and not self.model.source_done)
    @rule(really=st.integers(0, 9))
    def fail_the_source(self, really: int) -> None:
        if not really:  # rarely, or little else would happen
            self.model.source_done = True
            self.model.expected = LookupError
            self.machine.on_error(LookupError())

    @rule(really=st.integers(0, 9))
    def dispose(self, really: int) -> None:
        if not really:
            self.model.over = True
            self.machine.dispose()

    @invariant()
    def nothing_is_left_undone(self) -> None:
        model = self.model
        assert model.violations == []
        if model.over:
            return
        assert model.expected is None, "a failure that did not end the sequence"
        assert not (model.free > 0 and (model.waiting or model.due())), "a slot is free, and an item waits"
        assert model.sendable() is None, "there is room, and a result waits"
        assert not (model.source_done and model.held == 0), "all is done, and it did not complete"
        assert not model.stall_is_due(), "all slots are stuck, and it did not stall"
        if model.times_out:
            assert all(model.now < attempt.began + TIMEOUT for attempt in model.running), "a call is overdue"

    @invariant()
    def it_counts_what_it_holds(self) -> None:
        model, stats = self.model, self.stats
        if model.over:
            return
        assert self.machine.gate.held == model.held
        assert stats.taken == model.arrived
        assert stats.started == sum(model.attempts.values())
        assert stats.running == len(model.running)
        assert stats.waiting == len(model.waiting) + len(model.delayed)
        assert stats.failed == sum(kind != "done" for kind, _ in model.sent + model.results)

    @invariant()
    def each_item_comes_out_once(self) -> None:
        items = [item for _, item in self.model.sent]
        assert len(items) == len(set(items))
        assert not self.model.ordered or items == sorted(items)

    @invariant()
    def the_end_frees_everything(self) -> None:
        assert self.runner.closed == self.model.over
        if self.model.over:
            assert all(attempt.disposed for attempt in self.model.running)


class _Sink(ObserverBase[Result]):
    """Tells the model, and counts at the gate, as an operator downstream does."""

    def __init__(self, model: Model, gate: Gate) -> None:
        self._model = model
        self._gate = gate

    def on_next(self, value: Result) -> None:
        self._gate.admitted += 1
        self._model.on_next(value)

    def on_error(self, error: Exception) -> None:
        self._model.on_error(error)

    def on_completed(self) -> None:
        self._model.on_completed()


def _recover(failure: Failure[int]) -> Result:
    return type(failure.error).__name__, failure.value


def _never_called(*args: Any) -> Any:
    raise AssertionError


StageSteps.TestCase.settings = settings(
    max_examples=settings().max_examples * 150 // 100, stateful_step_count=40, deadline=None
)
TestStageMachine = pytest.mark.slow(StageSteps.TestCase)
