"""The writer: appends outcomes to a file as lines, one batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, Select
from sqlalchemy.exc import SQLAlchemyError

from rxpipe.database.engine import failed_to_open
from rxpipe.database.error_kinds import FileAway, RowRefused
from rxpipe.database.table_owner import Owner
from rxpipe.database.writer import Made
from rxpipe.errors import OtherPipeline, SinkError, StoreError
from rxpipe.files.file_owner import KnownFile, keep_length, known_file, make_files, path_in, take_file
from rxpipe.files.lines import LineFunction, LineMaker
from rxpipe.files.output_file import OutputFile
from rxpipe.identity import Identity
from rxpipe.identity.identity import told
from rxpipe.pipeline.outcome import Outcome, Status

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class LineWriter:
    """Appends batches of outcomes to one file, a line each.

    Without a run store, lines go to the end of the file. In the transactions of a run store, lines go to the end that
    the store knows, and the store keeps the new end in the same transaction: see ``file_owner.py``.

    Not thread-safe: use it on one thread at a time, though not always the same one.
    """

    def __init__(self, path: str, *, row: LineFunction | None, rows: Collection[Status]) -> None:
        """Describe a writer. Nothing is opened yet.

        Args:
            path: The file.
            row: Returns the content of an outcome's line; None for the default.
            rows: The statuses of outcomes that have a line.
        """
        self.place = path
        self._file = OutputFile(path)
        self._lines = LineMaker(row, rows)
        self._end: int | None = None
        self._key = ""

    # Without a run store

    def open(self) -> None:
        """Open the file, to append at its end. Does nothing if it is open.

        Raises:
            SinkError: The file cannot be written, or another process writes it.
        """
        if self._end is not None:
            return
        self._file.open()
        try:
            self._end = self._file.adopt()
        except BaseException:
            self._file.close()
            raise

    def write(self, batch: Sequence[Outcome[Any]]) -> list[RowRefused | None]:
        """Append a batch. Its lines are on the disk when this returns.

        Returns:
            For each outcome: None if its line is written, else the error.

        Raises:
            FileAway: The disk is full, or does not answer. Write the batch again.
            SinkError: The file is not open, was deleted or changed, or cannot be written.
        """
        if self._end is None:
            raise SinkError(f"{self.place} is not open")
        made = self.make(batch)
        if data := _joined(made):
            self._end = self._file.append(self._end, data)
        return [one.refused for one in made]

    def end_within(self, seconds: float) -> None:
        """Does nothing: a call that writes a file cannot be ended."""

    def close(self) -> None:
        """Close the file. Does nothing if it is closed."""
        self._end = None
        self._file.close()

    # In the transactions of a run store

    def open_beside(self, engine: Engine) -> None:
        """Open the file, to append in transactions on this engine.

        Raises:
            SinkError: The file cannot be written, another process writes it, or the database cannot be written.
        """
        self._file.open()
        try:
            self._key = path_in(engine, self.place)
            make_files(engine)
        except BaseException as error:
            self._file.close()
            if not isinstance(error, SQLAlchemyError):
                raise
            raise failed_to_open(engine, error) from getattr(error, "orig", None) or error

    def claim(self, connection: Connection, pipeline: Identity, *, replace: bool, by_name: bool = False) -> None:
        """Make a pipeline the owner of the file, and cut off the bytes that a killed process left.

        Args:
            connection: A connection in a transaction, which stores the owner.
            pipeline: The pipeline.
            replace: True to continue the file as it is, whoever has written it.
            by_name: True if a pipeline with the same name counts as the same, whatever its stages.

        Raises:
            OtherPipeline: The file belongs to another pipeline.
            StoreError: The file is not as the store knows it: another program has written or cut it.
        """
        known = known_file(connection, self._key)
        if known is not None and not replace:
            owner = known.owner
            is_named = by_name and owner.pipeline == pipeline.name
            if owner.is_other_than(pipeline) and not is_named:
                raise OtherPipeline(self._told_other(owner, pipeline))
        take_file(connection, self._key, pipeline, self._length(known, replace=replace), known)

    def _length(self, known: KnownFile | None, *, replace: bool) -> int:
        """Returns the number of valid bytes of the file."""
        size = self._file.size
        length = 0 if known is None else known.length
        if known is not None and known.is_open and size >= length:  # a killed process may have left some bytes
            if gone := self._file.cut(length):
                _log.warning("what a killed process left of a batch was cut off", path=self.place, bytes=gone)
        elif size != length and not replace:
            raise StoreError(self._told_size(size, length))
        elif size != length:
            return self._file.adopt()
        else:
            self._file.cut(length)
        return length

    def owner(self, connection: Connection) -> Owner | None:
        """Returns the pipeline that owns the file, or None if unknown."""
        known = known_file(connection, self._key)
        return None if known is None else known.owner

    def count_missing(self, connection: Connection, written: int) -> int:
        """Returns how many lines of ``written`` items are missing. Notices an empty file only."""
        return 0 if self._file.size else written

    def make(self, batch: Sequence[Outcome[Any]]) -> list[Made]:
        """Make the lines of outcomes. This calls the user's code, so hold no lock and no transaction meanwhile."""
        now = datetime.now(UTC)
        return [self._lines.make(outcome, now) for outcome in batch]

    def write_in(self, connection: Connection, batch: Sequence[Made]) -> list[RowRefused | None]:
        """Append lines in the caller's transaction. After a rollback, the next append cuts them off.

        Raises:
            FileAway: The disk is full, or does not answer. Write the batch again.
            SinkError: The file was deleted or changed, or cannot be written.
        """
        if data := _joined(batch):
            keep_length(connection, self._key, self._file.append(self._known_length(connection), data))
        return [made.refused for made in batch]

    def forget(self, connection: Connection, keys: Select[tuple[str]]) -> None:
        """Does nothing: lines stay in the file."""

    def release(self, connection: Connection) -> None:
        """The last line is written. From now on, no byte after it is ours."""
        length = self._known_length(connection)
        try:
            self._file.cut_ours(length)
        except (FileAway, SinkError):
            return  # the next process does it
        keep_length(connection, self._key, length, is_open=False)

    def _known_length(self, connection: Connection) -> int:
        known = known_file(connection, self._key)
        if known is None:
            raise SinkError(f"the run store has lost what it knew of {self.place}: nothing more is written to it")
        return known.length

    def _told_other(self, owner: Owner, pipeline: Identity) -> str:
        return (
            f"the file {self.place} has rows of {told(owner.pipeline, owner.origin)}; this is {pipeline}. Give it "
            "another file, or append to this one with --replace (JsonLinesSink(replace=True)). If the two are one "
            f"pipeline, give it that name: name: {owner.pipeline} in its config, or Pipeline(name={owner.pipeline!r})"
        )

    def _told_size(self, size: int, length: int) -> str:
        if size > length:
            return (
                f"{self.place} has {size - length:,} bytes that this run store has not written: another run or program "
                "has. Move it away, or append to it as it is with --replace (JsonLinesSink(replace=True))"
            )
        return (
            f"{self.place} has {size:,} bytes, and its run store has written {length:,}: it was cut or deleted. Put it "
            "back, or go on with it as it is with --replace (JsonLinesSink(replace=True)); rxpipe requeue RUN --rows "
            "has all rows written again"
        )


def _joined(batch: Sequence[Made]) -> bytes:
    return b"".join(made.row for made in batch if made.row is not None)
