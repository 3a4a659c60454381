"""Runs a server: on a thread of its own, or until a signal comes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Thread

from rxpipe.devtools.fake_llm.behaviour import Behaviour
from rxpipe.devtools.fake_llm.server import FakeServer


@contextmanager
def serving(
    behaviour: Behaviour | None = None, *, port: int = 0, clock: Callable[[], float] = time.monotonic
) -> Generator[FakeServer]:
    """A server on a thread of its own, while the context lasts.

    Args:
        behaviour: The server's behaviour; by default it answers at once, and well.
        port: The port at 127.0.0.1; 0 for a free port.
        clock: The clock of the rate limits, in seconds.

    Yields:
        The started server; its `url` is for clients.

    Raises:
        ConfigError: The port cannot be used, or aiohttp is missing.
    """
    server = FakeServer(behaviour, port=port, clock=clock)
    started: Future[Callable[[], object]] = Future()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            await server.start()
        except BaseException as error:  # noqa: BLE001 - raised again where the server was asked for
            started.set_exception(error)
            return
        started.set_result(lambda: loop.call_soon_threadsafe(stop.set))
        await stop.wait()
        await server.stop()

    thread = Thread(target=lambda: asyncio.run(serve()), name="fake-llm", daemon=True)
    thread.start()
    try:
        stop = started.result()
        try:
            yield server
        finally:
            stop()
    finally:
        thread.join()


def serve_until_signal(server: FakeServer, on_start: Callable[[FakeServer], None]) -> None:
    """Run a server on the main thread, until Ctrl-C or SIGTERM. Then it ends at once.

    Args:
        server: The server, not yet started.
        on_start: Called when it has started.

    Raises:
        ConfigError: The address cannot be used, or aiohttp is missing.
    """

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows: there, Ctrl-C raises
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await server.start()
        try:
            on_start(server)
            await stop.wait()
        finally:
            await server.stop()

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())
