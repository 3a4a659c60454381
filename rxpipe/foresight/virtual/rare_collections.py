"""Makes garbage collections rarer during a simulation, which makes many objects, but hardly any reference cycles.

With Python's default threshold of 700 objects, collections take 5% of a simulation's time.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

_OBJECTS = 20_000  # surplus of allocated over freed objects that starts a collection: some megabytes

_lock = threading.Lock()
_running = 0
_before = gc.get_threshold()


@contextmanager
def rare_collections() -> Generator[None]:
    """Makes garbage collections rarer in the whole process, until the last simulation has ended.

    A process keeps its own threshold if that is higher, or if it has turned collections off. Thread-safe.
    """
    global _running, _before
    with _lock:
        _running += 1
        if _running == 1:
            _before = gc.get_threshold()
            if 0 < _before[0] < _OBJECTS:
                gc.set_threshold(_OBJECTS, *_before[1:])
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if _running == 0:
                gc.set_threshold(*_before)
