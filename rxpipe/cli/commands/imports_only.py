"""For commands that import the stages of a config and leave nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def no_bytecode() -> Generator[None]:
    """Import modules without leaving ``__pycache__`` beside the user's modules."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
