"""A listener that records the calls of a run in this process, for forecasts without a store."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable

from rxpipe.foresight.calls.record import RecordedCall, RecordedRun
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.retry_policy import uses_attempt
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.views import ItemView, RunView


class CallRecorder(Listener):
    """Records all calls of a run in memory. Add it to a pipeline's ``listeners``.

    Call ``record()`` during the run or after it, from any thread. Memory grows with the number of calls.

    - A call that drops its item, or sends it back, counts as ``ok``.
    - The seconds of a call that returns many values do not include the time in which it waits for room downstream.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Creates an empty recorder.

        Args:
            now: Returns the time in seconds.
        """
        self._now = now
        self._lock = threading.Lock()
        self._calls: list[RecordedCall] = []
        self._roots: list[int | str] = []
        self._began: dict[tuple[ItemView, str], float] = {}
        self._attempts: Counter[tuple[ItemView, str, int]] = Counter()
        self._used: dict[tuple[ItemView, str], Usage] = {}
        self._stage: dict[ItemView, str] = {}
        self._children: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._run_began: float | None = None
        self._startup = 0.0

    def record(self) -> RecordedRun:
        """Returns the calls that are recorded so far."""
        with self._lock:
            children = {stage: dict(counts) for stage, counts in self._children.items()}
            for call in self._calls:
                if call.ended == "ok" and call.stage in children:
                    children[call.stage].setdefault(call.item, 0)
            return RecordedRun(
                calls=list(self._calls), roots=list(self._roots), children=children, startup=self._startup
            )

    def run_started(self, run: RunView) -> None:
        """Notes when the first run begins, to measure how long its start takes."""
        with self._lock:
            if self._run_began is None:
                self._run_began = self._now()

    def taken(self, item: ItemView) -> None:
        """Notes an item of the source, or a child of an item."""
        with self._lock:
            if item.parent is None:
                self._roots.append(item.id)
            elif (stage := self._stage.get(item.parent)) is not None:
                self._children[stage][str(item.parent.id)] += 1

    def call_started(self, item: ItemView, stage: str) -> None:
        """Notes when a call begins."""
        now = self._now()
        with self._lock:
            if not self._calls and not self._began and self._run_began is not None:
                self._startup = now - self._run_began
            self._began[item, stage] = now
            self._stage[item] = stage

    def used(self, item: ItemView, stage: str, attempt: int, usage: Usage) -> None:
        """Adds the usage of a call."""
        with self._lock:
            self._used[item, stage] = self._used.get((item, stage), Usage()) + usage

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        """Records a call that has ended."""
        ended = "ok"
        if error is not None:
            ended = "failed" if not again else "retried" if uses_attempt(error) else "pushed_back"
        with self._lock:
            began = self._began.pop((item, stage), None)
            if began is None:
                return
            place = item, stage, item.rounds
            self._attempts[place] += ended != "pushed_back"
            usage = self._used.pop((item, stage), Usage())
            attempt = self._attempts[place]
            seconds = max(0.0, self._now() - began - item.waited_downstream)
            self._calls.append(RecordedCall(str(item.id), stage, attempt, began, seconds, ended, usage))
