"""``source: {call: "my_module:ids"}``: the items that a function returns."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from itertools import islice
from typing import Any, TypeGuard

from rxpipe.config.error_texts import shown
from rxpipe.config.imports import describe_raised, resolve
from rxpipe.config.model import Config
from rxpipe.config.sources.ids import HASH, hash_of
from rxpipe.errors import ConfigError
from rxpipe.pipeline.record import from_records


def called(config: Config, target: str, count: int | None) -> Iterable[Any] | AsyncIterable[Any]:
    """Call the function, and return its items, with the IDs that ``id`` says.

    Raises:
        ConfigError: There is no such function, the function raises, or its result cannot be iterated.
    """
    start, by = config.where("source.call"), config.source.id
    function = resolve(target, config.folder, where=start)
    try:
        given = function()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's function may raise anything
        raise ConfigError(f"{start}: {target}: it raised {describe_raised(error, config.folder)}") from None
    if _is_async(given):
        first: AsyncIterable[Any] = given if count is None else _first(given, count)
        return first if by is None else from_records(first, hash_of if by == HASH else by)
    if _is_sync(given):
        some: Iterable[Any] = given if count is None else islice(given, count)
        return some if by is None else from_records(some, hash_of if by == HASH else by)
    hint = ""
    if inspect.iscoroutine(given):
        given.close()  # nobody will await it
        hint = "; an async function gives IDs with yield,"
    raise ConfigError(
        f"{start}: {target}: it returned {shown(given)}, of type {type(given).__name__}{hint or ';'} "
        "allowed: an iterable or async iterable of IDs or records"
    )


def _is_async(ids: object) -> TypeGuard[AsyncIterable[Any]]:
    return isinstance(ids, AsyncIterable)


def _is_sync(ids: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(ids, Iterable) and not isinstance(ids, str | bytes)


async def _first(ids: AsyncIterable[Any], count: int) -> AsyncIterator[Any]:
    """Yields the first IDs. No more IDs than these are taken, and then the source is closed."""
    iterator = aiter(ids)
    try:
        for _ in range(count):
            try:
                yield await anext(iterator)
            except StopAsyncIteration:
                return
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()
