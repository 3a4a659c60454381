"""Runs calls in real time, beside virtual time."""

from __future__ import annotations

from typing import Any, cast

from reactivex.abc import DisposableBase
from reactivex.scheduler import VirtualTimeScheduler

from ..core.clock import running_loop
from ..core.real_calls import real_calls_of
from ..core.worker import Call, Function
from .runner import Runner


class CountedRunner:
    """Passes calls to another runner. Virtual time waits for the calls."""

    def __init__(self, runner: Runner, scheduler: VirtualTimeScheduler) -> None:
        self.queues, self.cancels, self.width = runner.queues, runner.cancels, runner.width
        self._runner = runner
        self._scheduler = scheduler
        self._calls = real_calls_of(scheduler)
        self._unfinished: set[_CountedCall] = set()

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase | None:
        """Start ``fn(value)``, and let no time pass until it has ended."""
        counted = _CountedCall(call, self)
        self._unfinished.add(counted)
        self._calls.begin(counted, self._scheduler)
        try:
            return self._runner.start(fn, value, cast("Call", counted))
        except BaseException:
            self.ended(counted)
            raise

    def ended(self, call: _CountedCall) -> None:
        """A call has ended, and its effects have happened."""
        self._unfinished.discard(call)
        self._calls.end(call)

    def close(self) -> None:
        """Start no more calls, and wait for none."""
        self._runner.close()
        self._calls.end(*self._unfinished)


class _CountedCall:
    """A call that reports its end to its runner."""

    def __init__(self, call: Call, runner: CountedRunner) -> None:
        self._call = call
        self._counted_by = runner

    def done(self, ok: bool, result: Any) -> None:
        """The function has ended. On an event loop, its effects may take another turn of the loop."""
        try:
            self._call.done(ok, result)
        finally:
            loop = running_loop()
            self._counted_by.ended(self) if loop is None else loop.call_soon(self._counted_by.ended, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)
