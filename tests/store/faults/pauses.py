"""Work that is killed so often: between two kills it makes only so many calls, and then waits for the next one."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .ledger import Ledger
from .waiting import until


@dataclass(frozen=True, kw_only=True)
class Pauses:
    """So a run cannot be over before the last kill, however fast or slow the machine is.

    Attributes:
        directory: Where the processes see how many kills there were.
        kills: How many there are to be; behind the last one, calls do not wait.
        calls: How many calls are made between two, by all processes.
    """

    directory: str
    kills: int
    calls: int

    def wait(self, ledger: Ledger) -> None:
        """Wait in a call that was noted, if a kill comes first."""
        while (done := self._done()) < self.kills and len(ledger.calls()) > self.calls * (done + 1):
            time.sleep(0.01)

    def moments(self, ledger: Ledger, chance: random.Random) -> Iterator[None]:
        """The moments of the kills, each after some call that is drawn; the kill is over when the next is asked for."""
        for done in range(self.kills):
            wanted = self.calls * done + chance.randint(1, self.calls)
            until(f"{wanted} calls", partial(_are_made, ledger, wanted), 60)
            yield
            with self._path.open("a") as file:
                file.write(".")

    @property
    def _path(self) -> Path:
        return Path(self.directory) / "kills"

    def _done(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def _are_made(ledger: Ledger, wanted: int) -> bool:
    return len(ledger.calls()) >= wanted
