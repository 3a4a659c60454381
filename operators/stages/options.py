"""The options of a stage that say how calls are made, wherever the stage is."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypedDict

from .adaptive import AdaptiveConcurrency
from .limiter import Limiter, RateLimiter
from .retry_policy import Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Has a stage's function called with a list of values; it returns a list with a result for each.

    ::

        Stage("embedding", embed, batch=Batch(max_items=100, max_seconds=0.05))

    An exception in place of a result fails that item alone. A call that fails as a whole is made again as the stage's
    ``retry`` says; then it is made again in halves, and those in halves, until what cannot be helped stands alone.

    Attributes:
        max_items: The longest list.
        max_seconds: How long an item waits for others at most, while there is a slot.
        item_rate: A limit of items, beside the stage's ``rate_limit``, which is one of calls.

    Raises:
        ValueError: A number is out of range.
    """

    max_items: int = 100
    max_seconds: float = 0.05
    item_rate: RateLimiter | None = None

    def __post_init__(self) -> None:
        if not (self.max_items >= 1 and self.max_items % 1 == 0):
            raise ValueError(f"max_items must be a whole number of at least 1, not {self.max_items}")
        if not 0 <= self.max_seconds < math.inf:
            raise ValueError(f"max_seconds must be a finite number of at least 0, not {self.max_seconds}")


class CallOptions(TypedDict, total=False):
    """How calls are made; ``ops.stage`` describes them."""

    concurrency: int | AdaptiveConcurrency | None
    timeout: float | None
    retry: Retry | None
    rate_limit: Limiter | None
    max_abandoned: int | None
    key: Callable[[Any], Hashable] | None


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
