"""Records of calls that are made up."""

from __future__ import annotations

from collections.abc import Sequence

from rxpipe.foresight import RecordedCall
from rxpipe.operators.core.running_call import Usage


def calls(
    name: str, each: Sequence[tuple[str, float, str]], *, attempt: int = 1, usage: Usage | None = None
) -> list[RecordedCall]:
    """Calls by their items, with their seconds and how they ended; far from each other in time."""
    return [
        RecordedCall(item, name, attempt, 1_000.0 * place, seconds, ended, usage or Usage())
        for place, (item, seconds, ended) in enumerate(each)
    ]


def alike(name: str, count: int, seconds: float, ended: str = "ok") -> list[RecordedCall]:
    """Calls of items with numbers, that all took the same time."""
    return calls(name, [(str(item), seconds, ended) for item in range(count)])
