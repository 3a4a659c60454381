"""The call ledger: one line for each call, in a file outside of the processes that make them."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Call(NamedTuple):
    """A call that was made.

    Attributes:
        item: The item's key.
        stage: The stage's name.
        attempt: The how manieth of its process for this item and stage.
        pid: The process.
        time: When, in nanoseconds by the machine's steady clock.
        token: What tells it from all other calls; its result carries it.
    """

    item: str
    stage: str
    attempt: int
    pid: int
    time: int
    token: str


def token_number(token: str) -> int:
    """A number that tells a call from others, of a size that can be counted as something that it used."""
    return int(token[:12], 16)


class Ledger:
    """A file that processes append lines to; one write each, so that none is torn."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._failed = self.path.with_suffix(".failed")
        self._returned = self.path.with_suffix(".returned")

    def note(self, item: str, stage: str, attempt: int) -> str:
        """Note a call before it is made; returns its token."""
        token = uuid.uuid4().hex[:16]
        _append(self.path, f"{item} {stage} {attempt} {os.getpid()} {time.monotonic_ns()} {token}\n")
        return token

    def note_failure(self, token: str) -> None:
        """Note that a call is about to fail."""
        _append(self._failed, f"{token}\n")

    def note_return(self, token: str) -> None:
        """Note that a call is about to return."""
        _append(self._returned, f"{token} {time.monotonic_ns()}\n")

    def returns(self) -> dict[str, int]:
        """When calls returned, by their tokens."""
        split = [line.split(" ") for line in _lines(self._returned)]
        return {token: int(at) for token, at in split}

    def calls(self) -> list[Call]:
        """All calls so far, in the order in which they were noted."""
        split = [line.split(" ") for line in _lines(self.path)]
        return [
            Call(item, stage, int(attempt), int(pid), int(at), token) for item, stage, attempt, pid, at, token in split
        ]

    def counts(self) -> Counter[tuple[str, str]]:
        """How many calls there were for each item and stage."""
        return Counter((call.item, call.stage) for call in self.calls())

    def failures(self) -> Counter[tuple[str, str]]:
        """How many of them failed."""
        failed = set(_lines(self._failed))
        return Counter((call.item, call.stage) for call in self.calls() if call.token in failed)


def _append(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
