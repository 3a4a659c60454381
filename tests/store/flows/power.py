"""A process that loses its database for good at some statement or commit: for the store it is as good as killed."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

_WRAPPED = ("do_execute", "do_execute_no_params", "do_executemany", "do_commit")


class Power:
    """What is there until it is cut.

    Attributes:
        points: Places that were passed: one before and one behind each statement and each commit.
        is_cut: Whether nothing comes through any more.
    """

    def __init__(self, cut_at: float) -> None:
        self._cut_at = cut_at
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.points = 0
        self.is_cut = False

    def cut(self) -> None:
        """Let nothing come through from now on."""
        self.is_cut = True

    def pass_point(self) -> None:
        """Come by one place.

        Raises:
            sqlite3.DatabaseError: It is cut here, or was before.
        """
        with self._lock:
            self.points = next(self._numbers)
            self.is_cut = self.is_cut or self.points >= self._cut_at
        if self.is_cut:
            error = sqlite3.DatabaseError("the power is cut")
            error.sqlite_errorcode = sqlite3.SQLITE_NOTADB  # which does not pass
            raise error


@contextmanager
def power(cut_at: float = float("inf")) -> Generator[Power]:
    """All engines of this process lose their databases at a place; they are whole again when this is left."""
    made, dialects = Power(cut_at), _patched()
    before = {name: getattr(dialects, name) for name in _WRAPPED}

    def wrap(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            made.pass_point()
            result = call(*arguments, **options)
            made.pass_point()
            return result

        return wrapped

    for name, call in before.items():
        setattr(dialects, name, wrap(call))
    try:
        yield made
    finally:
        for name, call in before.items():
            setattr(dialects, name, call)


def _patched() -> Any:
    return DefaultDialect
