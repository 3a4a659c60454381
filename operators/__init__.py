"""The Rx operators, imported as ``rxpipe.operators``."""

from __future__ import annotations

from .retry import Retry, retry
from .sources import from_iterable
from .stage import stage

__all__ = ["Retry", "from_iterable", "retry", "stage"]
