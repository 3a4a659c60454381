"""The options of a stage that say how calls are made, wherever the stage is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from .adaptive import AdaptiveConcurrency
from .limiter import Limiter
from .retry_policy import Retry


class CallOptions(TypedDict, total=False):
    """How calls are made; ``ops.stage`` describes them."""

    concurrency: int | AdaptiveConcurrency | None
    timeout: float | None
    retry: Retry | None
    rate_limit: Limiter | None
    max_abandoned: int | None


def refuse_unknown(given: Iterable[str], options: type, of: str) -> None:
    """Raise if an option does not exist.

    Args:
        given: Their names.
        options: A ``TypedDict`` of those that are there.
        of: Whose they are, for the error.

    Raises:
        TypeError: Names them, and those that are there.
    """
    known = sorted(options.__annotations__)
    if unknown := [name for name in given if name not in known]:
        raise TypeError(f"{of} has no option {', '.join(unknown)}; it has {', '.join(known)}")
