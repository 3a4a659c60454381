"""`stage` with functions that return what cannot be asked what it is."""

from __future__ import annotations

from typing import Any

import pytest
from operator_helpers import collect

from rxpipe.operators import from_iterable, stage
from rxpipe.operators.core.worker import discard


class _NoClass:
    """Its class cannot be asked for, as with proxies whose server is away."""

    @property  # type: ignore[misc]  # that is the point
    def __class__(self) -> type[Any]:  # pyright: ignore[reportIncompatibleMethodOverride] - that is the point
        raise OSError("the server is away")


class _Odd(type):
    """A class of this type has no hash, and cannot be asked for attributes."""

    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType] - that is the point

    def __eq__(cls, other: object) -> bool:
        raise OSError("no comparison")

    def __getattr__(cls, name: str) -> Any:
        raise OSError("no attributes")


class _OfOddType(metaclass=_Odd):
    pass


@pytest.mark.parametrize("kind", [_NoClass, _OfOddType])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_result_of_an_odd_class_is_a_result(kind: type[Any], is_async: bool) -> None:
    """Neither its class nor the class of that is asked for more than can be had."""

    def plain(value: int) -> Any:
        return kind()

    async def coroutine(value: int) -> Any:
        return kind()

    fn: Any = coroutine if is_async else plain
    values = collect(from_iterable(range(3)).pipe(stage(fn)))
    assert [type(value) is kind for value in values] == [True] * 3
    discard(kind())
