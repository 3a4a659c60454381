"""``Submission``: an ID that was submitted to an open pipeline, and its outcome."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Generic

from typing_extensions import TypeVar  # with defaults, which typing has from Python 3.13 on

from rxpipe.errors import PipelineClosed
from rxpipe.operators.core.clock import needed_loop, running_loop, show_unhandled
from rxpipe.pipeline.outcome import Outcome

T = TypeVar("T", covariant=True, default=Any)


class _Telling(threading.local):
    """True on a thread that is notifying callbacks or subscribers, and must not be held up."""

    now = False


TELLING = _Telling()


class Origin:
    """The process in which an object was made. A fork has all of its memory, and none of its threads."""

    ELSEWHERE = "the pipeline was opened in another process, before a fork: open one in this process"

    __slots__ = ("_process",)

    def __init__(self) -> None:
        self._process = os.getpid()

    @property
    def is_here(self) -> bool:
        """True in that process."""
        return self._process == os.getpid()

    def check(self) -> None:
        """Raise in a forked process, where no thread would do the work.

        Raises:
            PipelineClosed: This is another process.
        """
        if not self.is_here:
            raise PipelineClosed(self.ELSEWHERE)


class Submission(Generic[T]):
    """One submitted ID. Await it, or call ``result()`` in a thread, to get the outcome.

    A wait that is cancelled or times out does not affect the item.

    Attributes:
        id: The ID.
    """

    __slots__ = ("_callbacks", "_cancel", "_ended", "_origin", "id")

    def __init__(self, item_id: int | str, cancel: Callable[[Submission[T]], bool]) -> None:
        self.id = item_id
        self._cancel = cancel
        self._origin = Origin()
        self._ended: Outcome[T] | Exception | None = None
        self._callbacks: list[Callable[[Submission[T]], object]] = []

    def __repr__(self) -> str:
        ended = self._ended
        return f"<Submission {self.id!r}: {ended.status if isinstance(ended, Outcome) else ended or 'not ended'}>"

    def __await__(self) -> Generator[Any, None, Outcome[T]]:
        """Wait for the outcome, on any event loop.

        Raises:
            PipelineClosed: The pipeline failed before the item ended; ``__cause__`` is the reason. Or the pipeline was
                opened in another process, before a fork.
        """
        if self._ended is None:
            self._origin.check()
            loop = needed_loop()
            ended: asyncio.Future[None] = loop.create_future()

            def tell(_: Submission[T]) -> None:
                _tell(loop, ended)

            self.add_done_callback(tell)
            try:
                yield from ended
            except BaseException:
                self._forget(tell)
                raise
        return self._result()

    def result(self, timeout: float | None = None) -> Outcome[T]:
        """Wait for the outcome, in a thread.

        Args:
            timeout: Seconds to wait at most; None for no limit.

        Raises:
            TimeoutError: The item has not ended in that time.
            PipelineClosed: The pipeline failed before the item ended; ``__cause__`` is the reason. Or the pipeline was
                opened in another process, before a fork.
            RuntimeError: An event loop is running on this thread, and must not be blocked.
        """
        if self._ended is None:
            self._origin.check()
            if running_loop() is not None:
                raise RuntimeError("an event loop is running here: await the submission instead")
            ended = threading.Event()

            def tell(_: Submission[T]) -> None:
                ended.set()

            self.add_done_callback(tell)
            try:
                if not ended.wait(timeout):
                    raise TimeoutError(f"{self.id!r} has not ended within {timeout:g} s")
            except BaseException:
                self._forget(tell)
                raise
        return self._result()

    def _result(self) -> Outcome[T]:
        assert self._ended is not None
        if isinstance(self._ended, Exception):
            raise self._ended.with_traceback(None)  # the same error is raised to several callers
        return self._ended

    def done(self) -> bool:
        """Returns True if the item has ended."""
        return self._ended is not None

    def cancel(self) -> bool:
        """Cancel the item, unless others have submitted the same ID meanwhile. From any thread.

        A running call is cancelled; a call on a thread is abandoned. The outcome says how the item ended: an item that
        had left the stages by then is still written.

        Returns:
            True if the item had not ended yet.

        Raises:
            PipelineClosed: The pipeline was opened in another process, before a fork.
        """
        self._origin.check()
        return self._cancel(self)

    def add_done_callback(self, callback: Callable[[Submission[T]], object]) -> None:
        """Call ``callback`` with this submission when it has ended, on the thread that ends it; now if it has ended."""
        self._callbacks.append(callback)
        if self._ended is not None:
            self._call_back()

    def end(self, outcome: Outcome[Any] | Exception) -> None:
        """Give the outcome to all that wait. Does nothing if that happened before."""
        if self._ended is None:
            self._ended = outcome
            self._call_back()

    def _forget(self, callback: Callable[[Submission[T]], object]) -> None:
        with suppress(ValueError):  # the callback was called
            self._callbacks.remove(callback)

    def _call_back(self) -> None:
        was_telling, TELLING.now = TELLING.now, True
        while self._callbacks:
            try:
                callback = self._callbacks.pop(0)
            except IndexError:  # another thread calls it: one that adds a callback while the submission ends
                break
            try:
                callback(self)
            except BaseException as error:  # noqa: BLE001 - a callback's failure is not the pipeline's
                show_unhandled(error)
        TELLING.now = was_telling


def _tell(loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
    if running_loop() is loop:
        _set(ended)
    else:
        with suppress(RuntimeError):  # the loop is closed, so no task waits there
            loop.call_soon_threadsafe(_set, ended)


def _set(ended: asyncio.Future[None]) -> None:
    if not ended.done():
        ended.set_result(None)
