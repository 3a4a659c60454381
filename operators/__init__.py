"""The Rx operators, imported as ``rxpipe.operators``. Each works alone in any RxPY chain.

What is where:

- ``stage.py``, ``expand.py``, ``retry.py``, ``timeout.py``, ``batch.py``, ``rate_limit.py``, ``overflow.py``:
  the operators of these names
- ``sources.py``, ``to_async.py``: from iterables into Rx and back, with backpressure; ``expansion.py``: the values of
  an ``expand`` stage as an observable
- ``errors.py``: the errors of operators
- ``stages/``: the state machine of ``stage``: calls, retries, timeouts
- ``runners/``: the places where calls run
- ``core/``: the base of all operators with a queue
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
