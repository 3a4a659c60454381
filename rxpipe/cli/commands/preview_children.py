"""The first children of an item, so that a preview ends soon, however many children there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from reactivex import Observable
from reactivex import operators as rx_ops

from rxpipe.operators.core.running_call import Usage
from rxpipe.pipeline.stage import Stage
from rxpipe.screen.texts import plural

MOST = 3


class FirstOnes(list[Any]):
    """The first of many values that a function returned.

    Attributes:
        told: A text about how many values these are of how many.
        whole: How many values there were; None if unknown, but more than these.
    """

    def __init__(self, values: Iterable[Any], told: str, *, whole: int | None) -> None:
        super().__init__(values)
        self.told = told
        self.whole = whole


class ChildCounts:
    """Counts children, while a preview takes only the first few.

    Attributes:
        are_known: True if the count of all children is known.
        by_stage: How many children the calls of a stage returned, by the ID of the item.
    """

    def __init__(self) -> None:
        self.are_known = True
        self.by_stage: dict[str, dict[str, int]] = {}
        self._shown: Counter[str] = Counter()

    def add(self, stage: str, item: int | str, found: FirstOnes) -> None:
        """Add the children that a call returned."""
        self.are_known = self.are_known and found.whole is not None
        self.by_stage.setdefault(stage, {})[str(item)] = len(found) if found.whole is None else found.whole
        self._shown[stage] += len(found)

    def usage(self, stages: Sequence[Stage], used: Sequence[Usage]) -> Usage:
        """Estimate the usage of all children.

        Args:
            stages: The pipeline's stages.
            used: The usage of each stage for the first few children.
        """
        shares, whole = [1.0], Usage()
        for stage, usage in zip(stages, used, strict=True):
            if stage.collect and len(shares) > 1:
                shares.pop()
            whole += scaled(usage, shares[-1])
            if stage.expand:
                shown = self._shown[stage.name]
                shares.append(shares[-1] * sum(self.by_stage[stage.name].values()) / shown if shown else shares[-1])
        return whole


def scaled(usage: Usage, times: float) -> Usage:
    """Returns a usage multiplied by a number."""
    return Usage(
        prompt_tokens=round(usage.prompt_tokens * times),
        completion_tokens=round(usage.completion_tokens * times),
        cost=usage.cost * times,
    )


def first_ones(values: Any) -> Any:
    """Returns the first few values for a stage with ``expand``, or an awaitable of them.

    A value that is no group of values is returned unchanged: the stage refuses it.
    """
    given: object = values  # for the type checkers, which do not know the type of the values
    if isinstance(given, Observable):
        return values.pipe(rx_ops.take(MOST + 1), rx_ops.to_list(), rx_ops.map(_cut))
    if isinstance(given, AsyncIterable):
        return _first_of_async(values)
    if isinstance(given, (str, bytes, bytearray, Mapping)) or not isinstance(given, Iterable):
        return values
    if isinstance(given, Collection):
        whole, told = len(values), plural(len(values), "child", "children")
        return FirstOnes(islice(values, MOST), f"first {MOST} of {told}" if whole > MOST else told, whole=whole)
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
    return FirstOnes(found[:MOST], told, whole=None if is_cut else len(found))
