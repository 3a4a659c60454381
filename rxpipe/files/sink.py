"""``JsonLinesSink``: appends each outcome to a file as a line of JSON, and passes it on once it is safe."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import get_args

from sqlalchemy import URL, Engine

from rxpipe.database.engine import shown
from rxpipe.database.outage import AWAY
from rxpipe.database.write_operator import Writing
from rxpipe.database.writer import ROWS
from rxpipe.errors import ConfigError, StoreError
from rxpipe.files.line_writer import LineWriter
from rxpipe.files.lines import LineFunction
from rxpipe.operators import Retry, batch
from rxpipe.pipeline.outcome import Status
from rxpipe.pipeline.ports import Write


class JsonLinesSink:
    """Appends outcomes to a file, each as one line of JSON. One writer groups the lines.

    ::

        Pipeline(*stages, sink=JsonLinesSink("questions.jsonl"), store=RunStore())

    - A line is on the disk ``max_seconds`` after its item, plus the time of the write.
    - While the disk is full, the same lines are tried again with backoff, and further items wait.
    - A line that cannot be made fails its item alone.
    - One process writes a file at a time.

    With a ``RunStore``, the file has each row exactly once, whenever the process is killed. The store is an SQLite file
    beside the output, ``questions.jsonl.run.db``, unless you give it another database. An item that is done again,
    after a requeue or in a fresh run, gets another line: the last line counts.

    Attributes:
        path: The file.
        replace: True to continue a file that others have written, with a store.
        max_items: The most lines of one write.
        max_seconds: Seconds that a line may wait for others.
        retry: When to try again while the disk is full, and for how long.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        row: LineFunction | None = None,
        rows: Collection[Status] = ROWS,
        replace: bool = False,
        max_items: int = 500,
        max_seconds: float = 0.05,
        retry: Retry = AWAY,
    ) -> None:
        """Describe a sink. Nothing is opened yet.

        Args:
            path: The file. A missing file is created; a missing folder is not.
            row: Returns the content of an outcome's line: anything that JSON can hold; or None for no line. The default
                is an object with the ``id``, the ``status``, the ``value``, the ``error`` and so on.
            rows: The statuses of items that have a line. Add ``dropped``, ``expanded`` or ``collected`` to see those
                items, too.
            replace: With a store: True to continue a file as it is, even if another pipeline or program has written it.
            max_items: The most lines of one write.
            max_seconds: Seconds that a line may wait for others.
            retry: When to try again while the disk is full, and for how long; a minute by default.

        Raises:
            ConfigError: ``path`` or ``row`` cannot be used.
            ValueError: A number is out of range, or ``rows`` has an unknown status.
        """
        if unknown := set(rows) - set(get_args(Status)):
            raise ValueError(f"rows must be of {', '.join(get_args(Status))}, not {', '.join(sorted(unknown))}")
        name = os.fspath(path)
        # Not every user checks types.
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"path: the name of a file, not {path!r}")
        if row is not None and not callable(row):
            raise ConfigError(f"row: a function of an outcome, not {row!r}")
        self.path = name
        self.replace = replace
        self.max_items = max_items
        self.max_seconds = max_seconds
        self.retry = retry
        self._row, self._rows = row, tuple(rows)
        self._batches = batch(max_items, max_seconds)

    def open(self) -> Write:
        """Open the file, and return the operator that writes outcomes.

        Returns:
            An operator. It emits each outcome in order, once its line is on the disk; as ``failed`` if the line cannot
            be made. When its source fails, the outcomes that have arrived are written first. When it has ended, you can
            subscribe again.

        Raises:
            SinkError: The file cannot be written, or another process writes it.
            StoreError: The file is written with a run store, which would not know of these lines.
        """
        if os.path.exists(store_file(self.path)) and not self.replace:
            raise StoreError(
                f"{self.path} is written with a run store, {store_file(self.path)}, which would not know of these "
                "lines. Run it with a store, write into another file, or append all the same with --replace "
                "(JsonLinesSink(replace=True))"
            )
        writer = self._writer()
        writer.open()
        return Writing(writer, self._batches, self.retry, self.path)

    def store_database(self, given: str | URL | Engine | None) -> str | URL | Engine:
        """Returns the database of a run store beside this sink: the given one, else a file beside the output."""
        return URL.create("sqlite", database=store_file(self.path)) if given is None else given

    def writer_on(self, database: Engine, *, owned: bool = False) -> LineWriter:
        """Returns an open writer that appends in transactions on a run store's database.

        Raises:
            SinkError: The file cannot be written, or another process writes it.
        """
        writer = self._writer()
        writer.open_beside(database)
        return writer

    def _writer(self) -> LineWriter:
        return LineWriter(self.path, row=self._row, rows=self._rows)


def store_file(path: str) -> str:
    """Returns the path of the SQLite file of a run store beside an output file."""
    return f"{path}.run.db"


def store_url(path: str) -> str:
    """Returns the URL of that SQLite file, as text."""
    return shown(URL.create("sqlite", database=store_file(path)))
