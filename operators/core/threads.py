"""The threads that run plain functions: one set, shared by all stages of the process, alive while in use."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any


def after_fork(action: Callable[[], None]) -> None:
    """Call ``action`` in each child that this process forks. A child has none of the parent's threads."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=action)


Function = Callable[..., object]
Job = tuple[Function, Function, tuple[Any, ...]]


class WorkerThreads:
    """Daemon threads, made as needed. The number of calls at once is up to the callers.

    A new job wakes one thread. A thread that takes a job wakes the next thread if more jobs wait. So jobs that do not
    block run one after the other on one thread, without thread switches. Jobs that block run in parallel.

    The threads are daemons, since a call that hangs for ever must not keep the process from ending. They end after the
    last user has left.
    """

    def __init__(self, name: str = "rxpipe-worker") -> None:
        """Start no threads yet.

        Args:
            name: The beginning of the threads' names.
        """
        self._name = name
        self.reset()

    def reset(self) -> None:
        """Forget all threads and users."""
        self._lock = threading.Lock()
        self._users: set[object] = set()
        self._jobs: deque[Job] = deque()
        self._idle: list[None] = []  # one for each thread that waits to be woken; pop and append are atomic
        self._wakes: SimpleQueue[bool] = SimpleQueue()  # True: look for a job; False: see if it is time to end
        self._wake_up = [None]  # one item, or none after a thread was woken or made and before it looks for a job
        self._made = 0

    def enter(self, user: object) -> None:
        """Add a user."""
        with self._lock:
            self._users.add(user)

    def leave(self, user: object) -> None:
        """Remove a user. From any thread, more than once if need be. After the last user, idle threads end."""
        with self._lock:
            self._users.discard(user)
            if self._users:
                return
        while taken_from(self._idle):
            self._wakes.put(False)

    def submit(self, function: Function, refused: Function, *args: Any) -> None:
        """Call ``function(*args)`` on a thread. If no thread can be made, call ``refused(*args)`` here or elsewhere.

        Neither may raise.
        """
        self._jobs.append((function, refused, args))
        self._call_thread()

    def _call_thread(self) -> None:
        """Wake or make a thread to look for a job, unless one is coming anyway."""
        if taken_from(self._wake_up):
            if taken_from(self._idle):
                self._wakes.put(True)
            else:
                self._make_thread()

    def _make_thread(self) -> None:
        self._made += 1
        try:
            threading.Thread(target=self._serve, name=f"{self._name}-{self._made}", daemon=True).start()
        except BaseException as error:
            self._wake_up.append(None)
            if not isinstance(error, RuntimeError):
                raise  # Ctrl-C, for example: the thread may exist or not
            self._refuse_all()

    def _refuse_all(self) -> None:
        """Refuse all waiting jobs: other callers may also have counted on the thread that could not be made."""
        with suppress(IndexError):
            while True:
                _, refused, args = self._jobs.popleft()
                refused(*args)

    def _serve(self) -> None:
        self._wake_up.append(None)
        while True:
            try:
                function, _, args = self._jobs.popleft()
            except IndexError:
                if not self._users:
                    return
                self._wait()
                continue
            if self._jobs:
                self._call_thread()
            function(*args)
            del function, args  # an idle thread keeps no value alive

    def _wait(self) -> None:
        self._idle.append(None)
        # A job may have come after this thread looked, and before it was listed as idle. So look again.
        if (self._jobs or not self._users) and taken_from(self._idle):
            return
        if self._wakes.get():
            self._wake_up.append(None)


def taken_from(tokens: list[None]) -> bool:
    """Take a token. Returns False if there is none. Needs no lock, since ``list.pop`` is atomic."""
    if tokens:
        try:
            tokens.pop()
        except IndexError:
            return False
        return True
    return False


WORKER_THREADS = WorkerThreads()
after_fork(WORKER_THREADS.reset)
