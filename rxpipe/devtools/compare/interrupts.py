"""Ctrl-C during a comparison."""

from __future__ import annotations

import signal
import threading
from queue import SimpleQueue
from typing import Self

from rxpipe.pipeline.run.run import Run


class Interrupts:
    """Cancels a run at the first Ctrl-C. At the second, raises ``KeyboardInterrupt`` without waiting for the run.

    A pipeline itself would let its items finish first, as they are paid for. But half a comparison is useless, and a
    batch may take minutes to drain.

    A handler runs between any two instructions of the main thread, which may hold a lock. So it leaves the work to a
    thread. On other threads than the main one it does nothing, as signals go to the main thread.

    Attributes:
        came: True if a Ctrl-C came.
    """

    def __init__(self) -> None:
        self.came = False
        self._run: Run | None = None
        self._awake: SimpleQueue[bool] = SimpleQueue()
        self._watcher = threading.Thread(target=self._watch, name="rxpipe-compare-interrupts", daemon=True)
        self._installed = False

    def watch(self, run: Run) -> None:
        """Cancel this run if a Ctrl-C comes."""
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
