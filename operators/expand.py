"""``expand``: a function that gives many values, applied to each item."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Unpack, overload

from reactivex import Observable

from .expansion import Many
from .stage import StageOptions, stage

A = TypeVar("A")
B = TypeVar("B")


@overload
def expand(
    fn: Callable[[A], Observable[B]], **options: Unpack[StageOptions[A, B]]
) -> Callable[[Observable[A]], Observable[B]]: ...
@overload
def expand(
    fn: Callable[[A], Many[B]], **options: Unpack[StageOptions[A, B]]
) -> Callable[[Observable[A]], Observable[B]]: ...
def expand(fn: Callable[[Any], Any], **options: Any) -> Callable[[Observable[Any]], Observable[Any]]:
    """Apply a function that gives many values to each item, and emit each of these: ``stage`` with ``expand=True``.

    ::

        from_iterable(paths).pipe(ops.expand(read_lines, concurrency=3), ops.stage(parse))

    No value is taken from an iterator before there is room for it downstream, so that one item may give millions.

    Args:
        fn: Returns a list, an iterator, an async iterator or an Observable; or is a generator function.
        **options: Those of ``stage``.

    Returns:
        An operator. The values of several items mix, as they come; with ``ordered`` they follow each other.

    Raises:
        ValueError: A number is out of range.
        TypeError: There is no such option.
    """
    return stage(fn, expand=True, **options)
