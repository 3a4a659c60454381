"""Looks at a run's health once a second, and reports changes at once."""

from __future__ import annotations

import threading
from typing import Self

from rxpipe.pipeline.run.run import Run
from rxpipe.service.health import HealthWatch, RunHealth
from rxpipe.service.notifying import Notifying

_SECONDS = 1.0  # seconds between two looks


class Pulse:
    """Tells a run's listeners when it is stalled or draining, and systemd its health, on a thread of its own.

    A context manager: it looks while it is entered. Its thread is not the run's, so it looks even while the run's event
    loop is blocked.
    """

    def __init__(self, health: HealthWatch, notifying: Notifying | None = None) -> None:
        self._health = health
        self._notifying = notifying
        self._run: Run | None = None
        self._was_stalled = self._was_draining = self._is_over = False
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._look_now_and_then, name="rxpipe-pulse", daemon=True)

    def begin(self, run: Run) -> None:
        """Tell the listeners of this run from now on."""
        self._run = run
        self._was_stalled = self._was_draining = False
        if self._notifying is not None:
            self._notifying.begin()

    def drain(self) -> None:
        """The run takes no more items."""
        self._health.drain()
        self._changed.set()

    def beat(self) -> None:
        """Look once."""
        found = self._health.look()
        if self._run is not None and not self._run.finished.done():
            self._tell_listeners(self._run, found)
        if self._notifying is not None:
            self._notifying.tick(found)

    def _tell_listeners(self, run: Run, found: RunHealth) -> None:
        was_stalled, self._was_stalled = self._was_stalled, found.status == "stalled"
        if self._was_stalled and not was_stalled:
            run.listeners.stalled(run, found.reason)
        was_draining, self._was_draining = self._was_draining, self._health.is_draining
        if self._was_draining and not was_draining:
            run.listeners.draining(run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._changed.set()
        self._thread.join()
        if self._notifying is not None:
            self._notifying.end()

    def _look_now_and_then(self) -> None:
        # A due sign of life must not wait long for the next look.
        seconds = _SECONDS if self._notifying is None else min(_SECONDS, self._notifying.seconds / 2)
        while not self._is_over:
            self.beat()
            self._changed.wait(seconds)
            self._changed.clear()
