"""The values of an ``expand`` function, as an observable that waits until there is room for the next value."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from reactivex import Observable

from .errors import WrongResult, kind_name
from .sources import from_async_iterable, from_blocking_iterable, from_iterable
from .stages.call import StageCall

T = TypeVar("T")

Many: TypeAlias = Iterable[T] | AsyncIterable[T] | Awaitable[Iterable[T] | AsyncIterable[T] | Observable[T]]
"""The results that the function of a stage with ``expand`` may return, besides Observables."""


def observable_of(values: object, call: StageCall) -> Observable[Any]:
    """Returns the values of an ``expand`` function as an observable.

    A list or another collection is read in place. Other iterables may block, so a thread of their own iterates them.
    The call is marked as working while an iterator makes its next value, since that work goes on if the call is ended
    meanwhile.

    Raises:
        WrongResult: The function returned one value instead of many.
    """
    given: Any = values  # for the type checkers, which do not know the type of the values
    if isinstance(values, Observable):
        return cast("Observable[Any]", given)
    if isinstance(values, AsyncIterable):
        call.cancels = True
        return from_async_iterable(_AsyncWork(given, call))
    if isinstance(values, (str, bytes, bytearray, Mapping)) or not isinstance(values, Iterable):
        raise WrongResult(
            f"{call.machine.settings.name}: a stage with expand gives many values: a list, an iterator, an async "
            f"iterator or an Observable, not {kind_name(given)}; return [] for none, [value] for one"
        )
    if isinstance(values, Collection):
        return from_iterable(given)
    call.cancels = False
    return from_blocking_iterable(_Work(given, call))


class _Work(Iterable[Any]):
    def __init__(self, values: Iterable[Any], call: StageCall) -> None:
        self._values = values
        self._call = call

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self._values)
        while True:
            self._call.working = True
            try:
                value = next(iterator)
            except StopIteration:
                return
            finally:
                self._call.worked()
            yield value


class _AsyncWork(AsyncIterable[Any]):
    def __init__(self, values: AsyncIterable[Any], call: StageCall) -> None:
        self._values = values
        self._call = call

    async def __aiter__(self) -> AsyncIterator[Any]:
        iterator = aiter(self._values)
        try:
            while True:
                self._call.working = True
                try:
                    value = await anext(iterator)
                except StopAsyncIteration:
                    return
                finally:
                    self._call.worked()
                yield value
        finally:
            if (close := getattr(iterator, "aclose", None)) is not None:
                await close()
