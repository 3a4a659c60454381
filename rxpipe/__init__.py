"""rxpipe: reactive dataflow pipelines on RxPY."""

from __future__ import annotations

from rxpipe import operators
from rxpipe.operators import (
    RateLimiter,
    Retry,
    deadline,
    from_async_iterable,
    from_iterable,
    to_async_iterable,
)

__all__ = [
    "RateLimiter",
    "Retry",
    "deadline",
    "from_async_iterable",
    "from_iterable",
    "operators",
    "to_async_iterable",
]
