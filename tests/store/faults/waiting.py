"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: str, test: Callable[[], T], seconds: float = 30.0) -> T:
    """Wait until a test gives something true, and return that.

    Raises:
        AssertionError: It has not by then.
    """
    deadline = time.monotonic() + seconds
    while not (found := test()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
    return found
