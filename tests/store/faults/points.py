"""Failpoints: what a process does with its database and its stages, numbered, so that it can be hurt at each place.

The product knows nothing of them: SQLAlchemy tells of each statement, and its commits are wrapped.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

STARTED = "the run has started"
# A place behind a statement is as good as the next one of its thread, which is before a statement or a commit: what is
# committed, and what was called, is the same. So where a process gets a signal, these are all the places there are.
APART = ("before ", "after COMMIT", "call of ", STARTED)

Act = Callable[[int, str], None]

_UNDO: list[Callable[[], object]] = []


class Points:
    """Numbers the places from 1, in all threads of this process together."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._numbers = itertools.count(1)

    def __call__(self, what: str) -> None:
        """The process is at a place."""
        self._act(next(self._numbers), what)

    def listen(self) -> None:
        """Come by before and after each statement and each commit of this process, of whichever engine."""

        def before(*about: Any) -> None:
            self(f"before {_brief(about[2])}")

        def after(*about: Any) -> None:
            self(f"after {_brief(about[2])}")

        for name, listener in (("before_cursor_execute", before), ("after_cursor_execute", after)):
            event.listen(Engine, name, listener)
            _UNDO.append(partial(event.remove, Engine, name, listener))
        wrap_commits(self._commit)

    def _commit(self, commit: Callable[[], None], _dialect: DefaultDialect, _connection: Any) -> None:
        self("before COMMIT")
        commit()
        self("after COMMIT")


def wrap_commits(wrapper: Callable[[Callable[[], None], DefaultDialect, Any], None]) -> None:
    """Let something be called instead of each commit of this process: with it, the dialect and the connection."""
    dialects: Any = DefaultDialect
    commit = dialects.do_commit

    def wrapped(dialect: DefaultDialect, connection: Any) -> None:
        wrapper(lambda: commit(dialect, connection), dialect, connection)

    dialects.do_commit = wrapped
    _UNDO.append(partial(setattr, dialects, "do_commit", commit))


def forget() -> None:
    """Leave the process as it was, for its next run."""
    while _UNDO:
        _UNDO.pop()()


def say_nothing(_what: str) -> None:
    """What a fault returns that does nothing about calls."""


def _brief(statement: Any) -> str:
    return " ".join(str(statement).split())[:60]


@dataclass(frozen=True, kw_only=True)
class SignalAt:
    """This process gets a signal at the n-th place; of those, for any signal but SIGKILL, where it has a handler.

    Attributes:
        number: Which place.
        signal: Which signal.
        what: If given, only places that begin with this, or with one of these, are counted.
        once_started: Whether places count only from where the run has started.
        behind: If given, places count only from one that begins with this.
    """

    number: int
    signal: signal.Signals
    what: str | tuple[str, ...] = ""
    once_started: bool = False
    behind: str = ""

    def arrange(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Watch this process from now on; returns what its stages tell their calls to."""
        matching = itertools.count(1)
        counts = threading.Event()
        if not (self.once_started or self.behind):
            counts.set()

        def act(_number: int, what: str) -> None:
            if what == STARTED if self.once_started else what.startswith(self.behind):
                counts.set()
            if not counts.is_set() or not what.startswith(self.what) or not self._is_taken():
                return
            if next(matching) == self.number:
                say(f"reached {what}")
                os.kill(os.getpid(), self.signal)
                if self.signal is signal.SIGKILL:
                    time.sleep(60)  # it is on its way

        points = Points(act)
        points.listen()
        return points

    def _is_taken(self) -> bool:
        return self.signal in (signal.SIGKILL, signal.SIGSTOP) or callable(signal.getsignal(self.signal))
