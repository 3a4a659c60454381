"""``JsonLinesSink``: outcomes in, a line of JSON each at the end of a file, outcomes out once they are safe."""

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
    """Appends outcomes to a file, each as one line of JSON, by one writer that groups lines.

    ::

        Pipeline(*stages, sink=JsonLinesSink("questions.jsonl"), store=RunStore())

    A line is on the disk within ``max_seconds`` and the time that this takes. While the disk is full, the same lines
    are tried again with backoff, and what comes waits. A line that cannot be made fails its item alone. One process
    writes into a file at a time.

    With a ``RunStore``, each row is there exactly once, whenever the process is killed. The store is kept in an SQLite
    file beside the output, ``questions.jsonl.run.db``, unless it is given another database. An item that is done
    again, after a requeue or in a fresh run, gets another line: the last one counts.

    Attributes:
        path: The file.
        replace: Whether it may append to what others have written, where there is a store.
        max_items: Lines that are written at once, at most.
        max_seconds: How long a line may wait for others.
        retry: How long to try while the disk is full.
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
        """Describe a sink; nothing is opened yet.

        Args:
            path: The file. It is made if it is not there; its folder is not.
            row: Gives what a line holds, of an outcome: whatever JSON can hold; or None for no line. By default an
                object with the ``id``, the ``status``, the ``value``, the ``error`` and so on.
            rows: Which items have a line, by how they end; add ``dropped``, ``expanded`` or ``collected`` to see those,
                too.
            replace: With a store, go on with a file as it is, also if another pipeline or program has written it.
            max_items: Lines that are written at once, at most.
            max_seconds: How long a line may wait for others.
            retry: How long to try while the disk is full; a minute by default.

        Raises:
            ConfigError: ``path`` or ``row`` cannot be used.
            ValueError: A number is out of range, or ``rows`` names no such end.
        """
        if unknown := set(rows) - set(get_args(Status)):
            raise ValueError(f"rows must be of {', '.join(get_args(Status))}, not {', '.join(sorted(unknown))}")
        name = os.fspath(path)
        # Not every user's code is type-checked.
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
        """Open the file, and give the operator that writes outcomes.

        Returns:
            An operator: each outcome comes out once its line is on the disk, in order; as ``failed`` if none could be
            made. When its source fails, what has arrived is written first. It may be subscribed to again when it has
            ended.

        Raises:
            SinkError: The file cannot be written, or another process writes into it.
            StoreError: It is written with a run store, which would not know of these lines.
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
        """The database of a run store beside this sink: the one that it was given, else a file beside the output."""
        return URL.create("sqlite", database=store_file(self.path)) if given is None else given

    def writer_on(self, database: Engine, *, owned: bool = False) -> LineWriter:
        """An open writer that appends in transactions on a run store's database.

        Raises:
            SinkError: The file cannot be written, or another process writes into it.
        """
        writer = self._writer()
        writer.open_beside(database)
        return writer

    def _writer(self) -> LineWriter:
        return LineWriter(self.path, row=self._row, rows=self._rows)


def store_file(path: str) -> str:
    """The SQLite file of a run store beside an output file."""
    return f"{path}.run.db"


def store_url(path: str) -> str:
    """Its URL, as text."""
    return shown(URL.create("sqlite", database=store_file(path)))
