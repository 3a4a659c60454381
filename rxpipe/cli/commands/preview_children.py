"""The first children of an item, so that a preview ends soon however many there are."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable, Mapping
from itertools import islice
from typing import Any

from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe.screen.texts import plural

MOST = 3


class FirstOnes(list[Any]):
    """The first of many values that a function gave.

    Attributes:
        told: How many these are of how many.
        is_cut: Whether there were more.
    """

    def __init__(self, values: Iterable[Any], told: str, *, is_cut: bool) -> None:
        super().__init__(values)
        self.told = told
        self.is_cut = is_cut


def first_ones(values: Any) -> Any:
    """What a stage with ``expand`` goes on with: the first few values, or what gives them when it is awaited.

    What is no group of values is returned as it is: the stage refuses it.
    """
    given: object = values  # for the type checkers, which do not know what ``values`` holds
    if isinstance(given, Observable):
        return values.pipe(rx_ops.take(MOST + 1), rx_ops.to_list(), rx_ops.map(_cut))
    if isinstance(given, AsyncIterable):
        return _first_of_async(values)
    if isinstance(given, (str, bytes, bytearray, Mapping)) or not isinstance(given, Iterable):
        return values
    if isinstance(given, Collection):
        is_cut, told = len(values) > MOST, plural(len(values), "child", "children")
        return FirstOnes(islice(values, MOST), f"first {MOST} of {told}" if is_cut else told, is_cut=is_cut)
    found = _cut(list(islice(values, MOST + 1)))
    if (close := getattr(values, "close", None)) is not None:
        close()
    return found


async def _first_of_async(values: AsyncIterable[Any]) -> FirstOnes:
    found: list[Any] = []
    async for value in values:
        found.append(value)
        if len(found) > MOST:
            break
    if (close := getattr(values, "aclose", None)) is not None:
        await close()
    return _cut(found)


def _cut(found: list[Any]) -> FirstOnes:
    is_cut = len(found) > MOST
    told = f"first {MOST} children, there are more" if is_cut else plural(len(found), "child", "children")
    return FirstOnes(found[:MOST], told, is_cut=is_cut)
