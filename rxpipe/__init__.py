"""rxpipe: reactive dataflow pipelines on RxPY."""

from __future__ import annotations

from rxpipe import operators
from rxpipe.operators import Retry, from_iterable

__all__ = ["Retry", "from_iterable", "operators"]
