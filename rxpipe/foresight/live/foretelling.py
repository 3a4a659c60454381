"""Keeps the outlook of a live run up to date, on a separate thread and at little cost."""

from __future__ import annotations

import threading
import time
from typing import Self

import structlog

from rxpipe.foresight.live.allowance import Allowance
from rxpipe.foresight.live.remaining import Remaining
from rxpipe.pipeline.plan import Plan
from rxpipe.pipeline.run.run import Run

SECONDS = 5.0  # the shortest time between two estimates
SHARE = 0.01  # share of one processor that estimates may take
_PIECE = 0.004  # processor seconds after which the thread lets others run
_REST = 0.03  # seconds of that pause

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Foretelling:
    """Regularly estimates what is left of a run, on its own thread. The latest estimate is in ``run.outlook``.

    The thread takes at most 1% of one processor. If an estimate takes long, the next one comes later; this also holds
    for the first one. The thread works in pieces of a few milliseconds, so it hardly delays the run's own threads and
    event loop.
    """

    def __init__(
        self, plan: Plan, run: Run, *, total: int | None, seconds: float = SECONDS, share: float = SHARE
    ) -> None:
        """Prepares the thread. Entering the context starts it.

        Args:
            plan: The pipeline of the run.
            run: The run, which has started.
            total: How many items the source has; None if unknown.
            seconds: The shortest time between two estimates, in seconds.
            share: The share of one processor that estimates may take, 0 to 1.
        """
        self._run = run
        self._seconds = seconds
        self._allowance = Allowance(share=share, seconds=seconds)
        self._remaining = Remaining(plan, total=total)
        self._over = threading.Event()
        self._mark = 0.0
        self._thread = threading.Thread(target=self._estimate, name="rxpipe-foresight", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _estimate(self) -> None:
        ended, before = time.monotonic(), time.thread_time()
        pause = self._seconds
        while not self._over.wait(pause) and not self._run.finished.done():
            snapshot = self._run.snapshot()
            waited = time.monotonic() - ended
            pause = self._allowance.pause(self._remaining.cost(snapshot), waited)
            if pause > 0:
                pause = max(pause / 2, min(pause, self._seconds))  # fewer may be in flight then; a check also costs
                continue
            self._mark = time.thread_time()
            try:
                self._run.outlook = self._remaining.estimate(snapshot, self._run.standing(), self._give_way)
            except _Over:
                return
            except Exception as error:  # noqa: BLE001 - whatever the error is, the run does not depend on it
                _log.debug("what is left of the run cannot be simulated", error=str(error))
                self._run.outlook = None
                return
            now = time.thread_time()
            self._allowance.took(now - before, waited)
            ended, before = time.monotonic(), now
            pause = self._seconds

    def _give_way(self) -> None:
        now = time.thread_time()
        if now - self._mark < _PIECE:
            return
        self._mark = now
        if self._over.wait(_REST):
            raise _Over


class _Over(Exception):
    """The run is over, so the estimate is no longer needed."""
