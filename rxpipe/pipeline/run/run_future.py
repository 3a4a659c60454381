"""The future of a run's report."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from rxpipe.operators.core.clock import guarded, running_loop
from rxpipe.pipeline.outcome import Report


class Finished(Future[Report]):
    """A future that cannot be waited for on the event loop that resolves it.

    Callbacks may raise anything. A plain ``Future`` skips the callbacks after one that raises ``SystemExit``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loop = running_loop()  # a run that is started on a loop is notified there

    def result(self, timeout: float | None = None) -> Report:
        """See ``Future``.

        Raises:
            RuntimeError: The wait would block the event loop that resolves the future.
        """
        self._refuse_to_block()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """See ``Future``. Raises as ``result`` does."""
        self._refuse_to_block()
        return super().exception(timeout)

    def _refuse_to_block(self) -> None:
        if self._loop is not None and running_loop() is self._loop and not self.done():
            raise RuntimeError(
                "an event loop is running on this thread: await run_async(ids), "
                "or await asyncio.wrap_future(run.finished)"
            )

    def add_done_callback(self, fn: Callable[[Future[Report]], object]) -> None:
        """See ``Future``."""

        def call(finished: Future[Report]) -> None:
            fn(finished)

        super().add_done_callback(lambda finished: guarded(partial(call, finished)))
