"""Ctrl-C during a comparison."""

from __future__ import annotations

import signal
import threading
from queue import SimpleQueue
from typing import Self

from rxpipe.pipeline.run.run import Run


class Interrupts:
    """Cancels a run at the first Ctrl-C; at the second, ``KeyboardInterrupt`` is raised without waiting for that.

    A pipeline's own way is to let its items finish first, as they are paid for. Half a comparison is of no use, and
    a batch may take minutes to drain.

    A handler runs between any two instructions of the main thread, which may hold a lock: so it leaves the work to a
    thread. On other threads than the main one nothing is done, as signals go to the main thread.

    Attributes:
        came: Whether there was one.
    """

    def __init__(self) -> None:
        self.came = False
        self._run: Run | None = None
        self._awake: SimpleQueue[bool] = SimpleQueue()
        self._watcher = threading.Thread(target=self._watch, name="rxpipe-compare-interrupts", daemon=True)
        self._installed = False

    def watch(self, run: Run) -> None:
        """Cancel this run, should it come to that."""
        self._run = run
        if self.came:
            run.abort()

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._watcher.start()
            self._installed = True
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._awake.put(False)
            self._watcher.join()

    def _handle(self, number: int, frame: object) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        self._awake.put(True)

    def _watch(self) -> None:
        if self._awake.get() and self._run is not None:
            self._run.abort()
