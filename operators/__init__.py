"""The Rx operators, imported as ``rxpipe.operators``; each works alone in any RxPY chain.

What is where:

- ``stage.py``: ``stage``, on the state machine in ``stage_machine.py``; its calls run in ``*runner*.py``
- ``retry.py``, ``timeout.py``, ``batch.py``, ``rate_limit.py``, ``overflow.py``: the operator of that name
- ``sources.py``, ``to_async.py``: into Rx and out of it, with backpressure
- ``running_call.py``: what a function may ask of its call; ``limiter.py``, ``adaptive.py``: how many calls there may be
- ``machine.py``: the shape that they share; ``mailbox.py``, ``gate.py``, ``clock.py``: messages, backpressure, time
- ``errors.py``: what they raise
"""

from __future__ import annotations

from .adaptive import AdaptiveConcurrency
from .batch import batch, unbatch
from .limiter import Limiter, RateLimiter
from .overflow import OverflowPolicy, overflow
from .rate_limit import rate_limit
from .retry import Retry, retry
from .running_call import Usage, deadline, record_usage, will_retry
from .sources import from_async_iterable, from_iterable
from .stage import stage
from .stage_settings import Failure
from .timeout import timeout
from .to_async import to_async_iterable

__all__ = [
    "AdaptiveConcurrency",
    "Failure",
    "Limiter",
    "OverflowPolicy",
    "RateLimiter",
    "Retry",
    "Usage",
    "batch",
    "deadline",
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
