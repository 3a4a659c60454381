"""``expand``: applies a function that gives many values to each item."""

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
    """Apply a function that gives many values to each item, and emit each value: ``stage`` with ``expand=True``.

    ::

        from_iterable(paths).pipe(ops.expand(read_lines, concurrency=3), ops.stage(parse))

    A value is taken from an iterator only when there is room for it downstream. So one item may give millions.

    Args:
        fn: Returns a list, an iterator, an async iterator or an Observable; or is a generator function.
        **options: The options of ``stage``.

    Returns:
        An operator. Values of several items are mixed, in the order of their arrival. With ``ordered``, all values of
        an item come before those of the next item.

    Raises:
        ValueError: A number is out of range.
        TypeError: There is no such option.
    """
    return stage(fn, expand=True, **options)
