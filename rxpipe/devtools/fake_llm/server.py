"""The server over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rxpipe.devtools.fake_llm.behaviour import Behaviour
from rxpipe.devtools.fake_llm.completions import Completions
from rxpipe.devtools.fake_llm.counts import Stats
from rxpipe.errors import ConfigError
from rxpipe.extras import install

if TYPE_CHECKING:
    from rxpipe.devtools.fake_llm.http import Listener


class FakeServer:
    """A server of chat completions, at one address, on the event loop where it is started.

    Attributes:
        url: The base URL for clients, once the server has started.
        stats_url: The URL of its counts, as JSON.
    """

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Describe a server; nothing is started yet.

        Args:
            behaviour: The server's behaviour; by default it answers at once, and well.
            host: The address to listen at.
            port: The port; 0 for a free port.
            clock: The clock of the rate limits, in seconds.
        """
        self.url = ""
        self.stats_url = ""
        self._completions = Completions(behaviour or Behaviour(), clock)
        self._host = host
        self._port = port
        self._listener: Listener | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: The address cannot be used, or aiohttp is missing.
        """
        try:
            from rxpipe.devtools.fake_llm.http import Listener
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "aiohttp":
                raise
            raise ConfigError(f"the fake LLM needs the extra openai: {install('openai')}") from None
        listener = Listener(self._completions)
        try:
            origin = await listener.listen(self._host, self._port)
        except (OSError, OverflowError, UnicodeError) as error:
            await listener.close()
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            allowed = "an address of this machine, and a port that nobody listens at (0 for any that is free)"
            raise ConfigError(f"cannot listen at {self._host}:{self._port}: {reason}; allowed: {allowed}") from error
        self._listener = listener
        self.url, self.stats_url = f"{origin}/v1", f"{origin}/stats"

    async def stop(self) -> None:
        """Stop listening and drop all connections at once, including those of calls that hang."""
        if self._listener is not None:
            await self._listener.close()
            self._listener = None

    def stats(self) -> Stats:
        """Returns the counts so far. From any thread."""
        return self._completions.counts.stats()
