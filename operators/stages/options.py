"""The options of calls, shared by the stages of operators and of pipelines."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypedDict

from .adaptive import AdaptiveConcurrency
from .limiter import Limiter, RateLimiter
from .retry_policy import Retry


def is_count(value: object) -> bool:
    """Returns True if a value is a whole number. 5.0 does not count as one, as with list indices."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Returns True if a value is a number. True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Calls a stage's function with a list of values. The function returns a list with one result for each.

    ::

        Stage("embedding", embed, batch=Batch(max_items=100, max_seconds=0.05))

    - An exception in place of a result fails that item alone.
    - If a whole call fails, it is made again as the stage's ``retry`` says. Then it is made again in halves, and in
      halves of these, until the items that cause the failure are alone.

    Attributes:
        max_items: The longest list.
        max_seconds: Seconds that an item waits for others at most, while a slot is free.
        item_rate: A limit of items. The stage's ``rate_limit`` limits calls.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: A number is out of range.
    """

    max_items: int = 100
    max_seconds: float = 0.05
    item_rate: RateLimiter | None = None

    def __post_init__(self) -> None:
        if not is_count(self.max_items):
            raise TypeError(f"Batch: max_items must be a whole number of at least 1, not {self.max_items!r}")
        if not self.max_items >= 1:
            raise ValueError(f"Batch: max_items must be a whole number of at least 1, not {self.max_items}")
        if not is_number(self.max_seconds):
            raise TypeError(f"Batch: max_seconds must be a finite number of at least 0, not {self.max_seconds!r}")
        if not 0 <= self.max_seconds < math.inf:
            raise ValueError(f"Batch: max_seconds must be a finite number of at least 0, not {self.max_seconds}")
        # Not every user checks types.
        if not isinstance(self.item_rate, RateLimiter | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"Batch: item_rate must be a RateLimiter, such as RateLimiter(50), not {self.item_rate!r}")


class CallOptions(TypedDict, total=False):
    """The options of calls; ``ops.stage`` describes them."""

    concurrency: int | AdaptiveConcurrency | None
    timeout: float | None
    retry: Retry | None
    rate_limit: Limiter | None
    max_abandoned: int | None
    key: Callable[[Any], Hashable] | None


def refuse_unknown(given: Iterable[str], options: type, of: str) -> None:
    """Raise if an option does not exist.

    Args:
        given: The names of the given options.
        options: A ``TypedDict`` of all options.
        of: The owner of the options, for the error.

    Raises:
        TypeError: An option does not exist. The text names it and the existing ones.
    """
    known = sorted(options.__annotations__)
    if unknown := [name for name in given if name not in known]:
        raise TypeError(f"{of} has no option {', '.join(unknown)}; it has {', '.join(known)}")
