"""A writer that can be held up, or made to fail, for the tests of the sink."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rxpipe.database.error_kinds import RowRefused
from rxpipe.database.writer import Writer
from rxpipe.pipeline.outcome import Outcome

LIMIT = 20.0  # seconds until something that has not happened counts as never


class HeldWriter:
    """Stands before ``Writer.write`` and ``Writer.close``.

    Attributes:
        batches: The IDs of each batch that was to be written, repeated ones among them.
        may_write: Batches wait for it.
        is_at_work: Set once one waits.
        errors: Raised by the next batches, one each, before anything is written.
        closed: How often a writer was closed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[list[Any]] = []
        self.may_write = threading.Event()
        self.may_write.set()
        self.is_at_work = threading.Event()
        self.errors: list[BaseException] = []
        self.closed = 0
        self.is_closed = threading.Event()
        self._write: Callable[..., list[RowRefused | None]] = Writer.write
        self._close: Callable[[Writer], None] = Writer.close

        def write(writer: Writer, batch: Sequence[Outcome[Any]]) -> list[RowRefused | None]:
            return self._hold(writer, batch)

        def close(writer: Writer) -> None:
            self._note_close(writer)

        monkeypatch.setattr(Writer, "write", write)
        monkeypatch.setattr(Writer, "close", close)

    def _hold(self, writer: Writer, batch: Sequence[Outcome[Any]]) -> list[RowRefused | None]:
        self.batches.append([outcome.id for outcome in batch])
        self.is_at_work.set()
        assert self.may_write.wait(LIMIT)
        if self.errors:
            raise self.errors.pop(0)
        return self._write(writer, batch)

    def _note_close(self, writer: Writer) -> None:
        self._close(writer)
        self.closed += 1
        self.is_closed.set()
