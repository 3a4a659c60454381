"""Limits the time of transactions, even if the server does not answer at all."""

from __future__ import annotations

import math
import socket
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, event

from rxpipe.errors import SinkError
from rxpipe.operators.core.clock import TIMER_THREAD


class TransactionLimit:
    """Cuts the connections of an engine when a transaction takes too long. The waiting thread gets an error.

    A server may be stopped, or a firewall may forget a connection, while the network still accepts data. No driver and
    no setting of the server notices that.
    """

    def __init__(self, engine: Engine, *, is_ours: bool) -> None:
        """Watch an engine.

        Args:
            engine: The engine.
            is_ours: True if nobody else uses the engine. Then a connection is also cut while it is made ready for use.
        """
        self._is_ours = is_ours
        self._deadline = math.inf
        self._connections: set[Any] = set()  # connections of the driver
        self._here = threading.local()  # ``over``: set when the time of this thread's transaction is up
        self._lock = threading.Lock()  # held while connections are cut: a connection returned meanwhile is still ours
        if is_ours:
            event.listen(engine, "do_connect", self._opening)
            event.listen(engine, "connect", self._opened)
            event.listen(engine, "close", self._closed)

    @contextmanager
    def limited(self, most: float = math.inf) -> Generator[None]:
        """Limit the time of the code inside, to at most ``most`` seconds.

        Raises:
            SinkError: The time for all transactions is up.
        """
        left = min(most, self._deadline - time.monotonic())
        if left <= 0:
            raise _too_late()
        around: threading.Event | None = getattr(self._here, "over", None)  # that of the outer transaction
        over = self._here.over = threading.Event()

        def time_is_up() -> None:
            over.set()  # before the cut: a connection that is still being made is cut as soon as it exists
            self._cut()

        timer = TIMER_THREAD.call_later(left, time_is_up)
        try:
            yield
        finally:
            timer.dispose()
            self._here.over = around

    @contextmanager
    def using(self, connection: Connection) -> Generator[None]:
        """Name the connection to cut."""
        if self._is_ours:
            yield
            return
        driver = connection.connection.dbapi_connection
        self._opened(driver, None)
        try:
            yield
        finally:
            self._closed(driver, None)

    def end_within(self, seconds: float) -> None:
        """Cut everything that takes longer than ``seconds`` from now, and let nothing begin after that.

        Blocks nobody.
        """
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        if seconds > 0:
            TIMER_THREAD.call_later(seconds, self._cut)
        else:
            self._cut()

    def _opening(self, *_: Any) -> None:
        if time.monotonic() >= self._deadline:
            raise _too_late()

    def _opened(self, driver: Any, _record: Any) -> None:
        with self._lock:
            self._connections.add(driver)
        over: threading.Event | None = getattr(self._here, "over", None)
        if time.monotonic() >= self._deadline:  # it was being made when the others were cut
            self._cut()
        elif over is not None and over.is_set():
            with suppress(Exception):
                _cut(driver)

    def _closed(self, driver: Any, _record: Any) -> None:
        with self._lock:
            self._connections.discard(driver)

    def _cut(self) -> None:
        with self._lock:
            for driver in self._connections:
                with suppress(Exception):  # the connection has ended by itself
                    _cut(driver)


def _too_late() -> SinkError:
    return SinkError("the database did not answer in time, and is not asked any more")


def _cut(driver: Any) -> None:
    if isinstance(driver, sqlite3.Connection):
        driver.interrupt()
        return
    # Closing the socket here would free what the other thread is using. After a shutdown, that thread reads an end of
    # file. PyMySQL has no public access to its socket.
    stream = socket.socket(fileno=(driver if hasattr(driver, "fileno") else driver._sock).fileno())
    try:
        stream.shutdown(socket.SHUT_RDWR)
    finally:
        stream.detach()
