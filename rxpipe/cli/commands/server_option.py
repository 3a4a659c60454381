"""``--server``: the limits of the server in a simulation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rxpipe.config.error_texts import given
from rxpipe.errors import ConfigError

_ALLOWED = "slots=N, rate=N/s, rate=N/min, or both, like slots=50,rate=45/s"
_SLOTS = re.compile(r"slots=([1-9][0-9]{0,8})")
_RATE = re.compile(r"rate=([0-9]{1,9}(?:\.[0-9]{1,9})?)/(s|min)")
_SECONDS = {"s": 1, "min": 60}


@dataclass(frozen=True, slots=True)
class ServerOption:
    """The limits of the server.

    Attributes:
        slots: Calls at once; None for any number.
        rate: Calls a second; None if the record decides.
    """

    slots: int | None = None
    rate: float | None = None

    @property
    def notes(self) -> list[str]:
        """The limits in words."""
        found: list[str] = []
        if self.slots is not None:
            found.append(f"the server takes {self.slots} calls at once; others wait there")
        if self.rate is not None:
            found.append(f"the server refuses what is beyond {self.rate:,.3g} calls a second")
        return found


def server_option(text: str) -> ServerOption:
    """Read ``slots=50``, ``rate=45/s`` or ``slots=50,rate=45/s``.

    Raises:
        ConfigError: The text has none of these forms.
    """
    slots: int | None = None
    rate: float | None = None
    for part in "".join(text.split()).split(","):
        if slots is None and (found := _SLOTS.fullmatch(part)):
            slots = int(found[1])
        elif rate is None and (found := _RATE.fullmatch(part)) and float(found[1]) > 0:
            rate = float(found[1]) / _SECONDS[found[2]]
        else:
            raise ConfigError(f"--server: {given(text, _ALLOWED)}")
    return ServerOption(slots, rate)
