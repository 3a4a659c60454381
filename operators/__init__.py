"""The Rx operators, imported as ``rxpipe.operators``; each works alone in any RxPY chain.

What is where:

- ``stage.py``, ``expand.py``, ``retry.py``, ``timeout.py``, ``batch.py``, ``rate_limit.py``, ``overflow.py``:
  operators of that name
- ``sources.py``, ``to_async.py``: into Rx and out of it, with backpressure; ``expansion.py``: of what a stage expands
- ``errors.py``: what they raise
- ``stages/``: the machine of ``stage``: its calls, retries, time limits
- ``runners/``: where calls run
- ``core/``: what everything with a queue stands on
"""

from __future__ import annotations

from .batch import batch, unbatch
from .core.running_call import Usage, deadline, record_usage, will_retry
from .expand import expand
from .overflow import OverflowPolicy, overflow
from .rate_limit import rate_limit
from .retry import retry
from .sources import from_async_iterable, from_iterable
from .stage import stage
from .stages.adaptive import AdaptiveConcurrency
from .stages.limiter import Limiter, RateLimiter
from .stages.options import Batch
from .stages.retry_policy import Retry
from .stages.settings import Failure
from .timeout import timeout
from .to_async import to_async_iterable

__all__ = [
    "AdaptiveConcurrency",
    "Batch",
    "Failure",
    "Limiter",
    "OverflowPolicy",
    "RateLimiter",
    "Retry",
    "Usage",
    "batch",
    "deadline",
    "expand",
    "from_async_iterable",
    "from_iterable",
    "overflow",
    "rate_limit",
    "record_usage",
    "retry",
    "stage",
    "timeout",
    "to_async_iterable",
    "unbatch",
    "will_retry",
]
