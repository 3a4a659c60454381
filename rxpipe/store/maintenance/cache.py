"""Lists and deletes results that any run may use again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, distinct, func, select, true, tuple_

from rxpipe.operators.core.running_call import Usage
from rxpipe.store.queries.existing_store import change
from rxpipe.store.schema.tables import CACHE, db_now

_CHUNK = 5_000  # results deleted in one transaction
_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedFunction:
    """The cached results of one function.

    Attributes:
        call: The function, as ``module:function``.
        versions: How many versions of the function they come from: of its code, its arguments and the user's version.
        results: How many results there are.
        usage: Usage of the calls that returned them.
        newest: When the newest result was kept.
    """

    call: str
    versions: int
    results: int
    usage: Usage
    newest: float


def cached_functions(connection: Connection, *, older_than: float | None = None) -> list[CachedFunction]:
    """Returns the functions with cached results, by name.

    With ``older_than``, counts only results older than that many days.
    """
    query = select(
        CACHE.c.call,
        func.count(distinct(CACHE.c.signature)).label("versions"),
        func.count().label("results"),
        func.sum(CACHE.c.prompt_tokens).label("prompt_tokens"),
        func.sum(CACHE.c.completion_tokens).label("completion_tokens"),
        func.sum(CACHE.c.cost).label("cost"),
        func.max(CACHE.c.at).label("newest"),
    )
    rows = connection.execute(query.where(_is_older(older_than)).group_by(CACHE.c.call).order_by(CACHE.c.call))
    return [
        CachedFunction(
            call=row.call,
            versions=row.versions,
            results=row.results,
            usage=Usage(
                prompt_tokens=int(row.prompt_tokens),
                completion_tokens=int(row.completion_tokens),
                cost=float(row.cost),
            ),
            newest=row.newest,
        )
        for row in rows
    ]


def clear(engine: Engine, call: str, *, older_than: float | None = None) -> int:
    """Delete a function's results, in many short transactions, so that none holds up others for long.

    Args:
        engine: The store's engine.
        call: The function, as ``module:function``.
        older_than: Delete only results older than this many days.

    Returns:
        How many results were deleted.

    Raises:
        SinkError: The database cannot be written to.
    """
    key = CACHE.c.signature, CACHE.c.input_hash
    some = select(*key).where(and_(CACHE.c.call == call, _is_older(older_than))).limit(_CHUNK)
    total, gone = 0, _CHUNK
    while gone == _CHUNK:
        with change(engine) as connection:
            gone = connection.execute(delete(CACHE).where(tuple_(*key).in_(some))).rowcount
        total += gone
    return total


def _is_older(days: float | None) -> ColumnElement[bool]:
    return true() if days is None else CACHE.c.at < db_now() - days * _DAY
