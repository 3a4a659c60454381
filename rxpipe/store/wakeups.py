"""Wakes idle workers when a run has new items, by LISTEN and NOTIFY of PostgreSQL.

A notification is sent in the transaction that makes items ready, so a woken worker finds them. The notification has no
other content. A worker that misses one, for example because its connection is lost, soon looks by itself.

Docs: https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, func, select

from rxpipe.database.encoding import one_line

CHANNEL = "rxpipe_items"
LOOKS = 2.0
"""Seconds between two looks of an idle worker that nobody wakes."""

_CHECK = 30.0  # seconds without a notification, after which the connection is tested
_LONGEST = 30.0  # longest pause between two attempts to connect, in seconds

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def wake_workers(connection: Connection, run_id: int) -> None:
    """Wake the workers that wait for items of a run, once the transaction is committed. Does nothing on SQLite.

    Args:
        connection: In the transaction that makes the items ready.
        run_id: The run's number.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, str(run_id))))


class Wakeups:
    """Tells a worker that stays about new items. On PostgreSQL, a thread listens on a connection of its own.

    A lost connection is made again: after 1 second, then after 2, 4, ... up to 30.
    """

    def __init__(self, engine: Engine, run_id: int, every: float) -> None:
        """Describe the wakeups; ``start`` begins to listen.

        Args:
            engine: The store's engine.
            run_id: The run's number.
            every: Seconds after which the worker looks for items by itself.
        """
        self._engine = engine
        self._run_id = str(run_id)
        self._every = every
        self._wake: Callable[[], object] = lambda: None
        self._is_listening = threading.Event()
        self._ended, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._keep_listening, name="rxpipe-wakeups", daemon=True)

    @property
    def seconds(self) -> float:
        """Seconds to wait before the worker looks for items by itself; fewer while nothing would wake it."""
        return self._every if self._is_listening.is_set() else min(self._every, LOOKS)

    def start(self, wake: Callable[[], object]) -> None:
        """Listen from now on, if the database and its driver have notifications.

        Args:
            wake: Called for each notification. Also called after each new connection, as a notification may have been
                missed.
        """
        self._wake = wake
        if self._engine.dialect.name == "postgresql" and self._engine.driver == "psycopg":
            self._thread.start()

    def close(self) -> None:
        """Stop listening. May be called from any thread, and more than once. Does not wait for a silent server."""
        self._end.close()
        if self._thread.ident is not None:
            self._thread.join(1.0)
        else:
            self._ended.close()

    def _keep_listening(self) -> None:
        pause, has_told = 1.0, False
        with self._ended:
            while True:
                try:
                    self._listen()
                    return
                except Exception as error:  # noqa: BLE001 - drivers may raise anything; the connection is made again
                    if self._is_listening.is_set():
                        pause, has_told = 1.0, False
                        self._is_listening.clear()
                    if not has_told:
                        has_told = True
                        _log.info("nobody tells of new items now", error=one_line(error), looks_every=LOOKS)
                if self._is_over(pause):
                    return
                pause = min(2 * pause, _LONGEST)

    def _listen(self) -> None:
        """Wake the worker for each notification. Returns at the end; raises when the connection is lost."""
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()  # the connection does not go back to those that transactions use
        with connection:
            connection.autocommit = True
            connection.execute(f"LISTEN {CHANNEL}")
            self._is_listening.set()
            self._wake()
            while not self._is_over(_CHECK, connection):
                # Without this, a server that is gone would look like a server without news.
                connection.execute("SELECT 1")
                if any(told.payload == self._run_id for told in connection.notifies(timeout=0)):
                    self._wake()

    def _is_over(self, seconds: float, connection: Any = None) -> bool:
        """Wait for the end, or until a connection has something to read. Returns True at the end."""
        with selectors.DefaultSelector() as selector:
            ended = selector.register(self._ended, selectors.EVENT_READ)
            if connection is not None:
                selector.register(connection.fileno(), selectors.EVENT_READ)
            return any(key is ended for key, _ in selector.select(seconds))
