"""Calls for many items."""

from __future__ import annotations

from typing import Any

from rxpipe import Usage, record_usage


class Together:
    """A function for batches, which notes what it is called with, and fails at some values."""

    def __init__(self, poison: Any = (), usage: Usage | None = None) -> None:
        self.calls: list[list[int]] = []
        self._poison = poison
        self._usage = usage

    def __call__(self, values: list[int]) -> list[int]:
        self.calls.append(values)
        if self._usage is not None:
            record_usage(self._usage)
        if set(values) & set(self._poison):
            raise ValueError("poison")
        return [10 * value for value in values]
