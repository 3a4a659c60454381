"""Pages and counts of items, each within a fraction of a second, whatever the filter.

If a filter leaves few items by an index, all of them are read and sorted. Otherwise items are searched in their order,
a part at a time. When the time is over, the page is short or empty, and the next page goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, func, select, true
from sqlalchemy.sql import literal_column

from rxpipe.database.json_rows import PARAMETER, is_in_keys, keys_as_parameter
from rxpipe.insight.reading import ItemFilter, ItemPage, ItemRow, Order
from rxpipe.store.commits.tallies import tallies
from rxpipe.store.queries.failures import item_id
from rxpipe.store.queries.history import DATABASE
from rxpipe.store.reading.item_filters import conditions, narrowed
from rxpipe.store.reading.item_order import Place, Segment, in_order, is_behind, is_in_state, place_of, segments_of
from rxpipe.store.schema.tables import ENDED, HAS_ENDED, HAS_SECONDS, ITEMS, PENDING

SECONDS = 0.12
"""Seconds that a page, or a count, looks for items."""

_FEW = 10_000  # most items that are read and sorted
_PART = 1_000  # items in the first part; later parts are sized to take ``_PART_SECONDS``
_SMALLEST_PART, _LARGEST_PART = 200, 20_000
_PART_SECONDS = 0.03
_LONGEST = 1_000  # characters of an error in a list

_ROW: Sequence[ColumnElement[Any]] = (
    *(ITEMS.c.item_key, ITEMS.c.is_integer, ITEMS.c.state, ITEMS.c.stage, ITEMS.c.collected_by, ITEMS.c.attempts),
    *(ITEMS.c.rounds, ITEMS.c.parent_key, ITEMS.c.children, ITEMS.c.seq),
    *(ITEMS.c.taken_at, ITEMS.c.ended_at, ITEMS.c.seconds),
    func.substr(ITEMS.c.last_error, 1, _LONGEST).label("last_error"),
)
_SORTED = ITEMS.c.item_key, ITEMS.c.state, ITEMS.c.seq, ITEMS.c.ended_at, ITEMS.c.seconds


class Question(NamedTuple):
    """A question about items.

    Attributes:
        run_id: The run's number.
        stages: The names of the run's stages.
        wanted: The filter.
        order: The order of the items.
        now: The time by the database's clock.
    """

    run_id: int
    stages: Sequence[str]
    wanted: ItemFilter
    order: Order
    now: float


def page(
    connection: Connection,
    question: Question,
    *,
    after: str | None,
    most: int,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> ItemPage:
    """Returns a page of items.

    Args:
        connection: In a transaction that reads.
        question: The question.
        after: The ``following`` of the page before.
        most: Most items on the page.
        seconds: Seconds that it may look for items.
        clock: A monotonic clock, in seconds.

    Raises:
        StoreError: ``after`` comes from no page.
    """
    question = question._replace(wanted=narrowed(question.wanted))
    segments = segments_of(question.order, question.wanted)
    place = None if after is None else Place.of(after)
    rows: list[Row[Any]] = []
    exact = _exactly(connection, question)
    if exact is not None and place is None:
        rows.append(exact)
    excluded = [] if exact is None else [ITEMS.c.item_key != exact.item_key]
    until = clock() + seconds
    few = _few(connection, question)
    if few is not None:
        found, following = _sorted_page(connection, question, segments, and_(few, *excluded), place, most - len(rows))
    else:
        found, following = _walk(connection, question, segments, excluded, place, most - len(rows), until, clock)
    rows += found
    return ItemPage(
        items=tuple(rows_of(connection, question.run_id, question.stages, rows)),
        following=None if following is None else following.to_text(),
    )


def count(
    connection: Connection,
    question: Question,
    *,
    most: int,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Returns how many items match, as far as the time allows; ``most`` stands for that many or more."""
    wanted = narrowed(question.wanted)
    question = question._replace(wanted=wanted)
    if wanted == ItemFilter(status=wanted.status):
        return min(most, sum(_counts(connection, question.run_id, wanted.status)))
    few = _few(connection, question)
    if few is not None:
        all_of_it = and_(few, *conditions(wanted, question.stages, segment=None, now=question.now))
        counted = _of_run(question.run_id, literal_column("1")).where(all_of_it).limit(most).subquery()
        return connection.execute(select(func.count()).select_from(counted)).scalar_one()
    found, until = 0, clock() + seconds
    order: Order = "newest" if wanted.longer_than is None or wanted.since is not None else "slowest"
    for segment in segments_of(order, wanted):
        which = and_(true(), *conditions(wanted, question.stages, segment=segment.name, now=question.now))
        for first, last in _parts(connection, question.run_id, segment, None):
            part = _between(_of_run(question.run_id, literal_column("1")), segment, first, last).where(which)
            counted = part.limit(most - found).subquery()
            found += connection.execute(select(func.count()).select_from(counted)).scalar_one()
            if found >= most or clock() > until:
                return found
    return found


def rows_of(connection: Connection, run_id: int, stages: Sequence[str], rows: Sequence[Row[Any]]) -> list[ItemRow]:
    """Returns items as a list shows them."""
    parents = {row.parent_key for row in rows if row.parent_key is not None}
    integers: set[str] = set()
    if parents:
        query = select(ITEMS.c.item_key).where(ITEMS.c.run_id == run_id, ITEMS.c.is_integer)
        query = query.where(is_in_keys(connection.dialect.name, ITEMS.c.item_key))
        integers = set(connection.execute(query, {PARAMETER: keys_as_parameter(sorted(parents))}).scalars())
    return [
        ItemRow(
            id=item_id(row.item_key, row.is_integer),
            status=row.state,
            stage=_stage_of(row, stages),
            attempts=row.attempts,
            rounds=row.rounds,
            parent=None if row.parent_key is None else item_id(row.parent_key, row.parent_key in integers),
            children=row.children,
            error=row.last_error,
            began_at=row.taken_at,
            ended_at=row.ended_at,
        )
        for row in rows
    ]


def item_row(connection: Connection, run_id: int, key: str) -> Row[Any] | None:
    """Returns an item as ``rows_of`` takes it; None if there is no such item."""
    return connection.execute(_of_run(run_id, *_ROW).where(ITEMS.c.item_key == key)).first()


def _stage_of(row: Row[Any], stages: Sequence[str]) -> str | None:
    if row.state in ("written", "expanded", "collected"):
        return None
    index: int = max(row.stage, -1 if row.collected_by is None else row.collected_by)
    return stages[index] if index < len(stages) else DATABASE


def _of_run(run_id: int, *columns: Any) -> Select[Any]:
    chosen: Any = select(*columns)
    query: Select[Any] = chosen.select_from(ITEMS).where(ITEMS.c.run_id == run_id)
    return query


def _exactly(connection: Connection, question: Question) -> Row[Any] | None:
    """Returns the item whose ID is exactly the searched text."""
    if question.wanted.text is None:
        return None
    which = conditions(question.wanted, question.stages, segment=None, now=question.now)
    query = _of_run(question.run_id, *_ROW).where(ITEMS.c.item_key == question.wanted.text, *which)
    return connection.execute(query).first()


def _few(connection: Connection, question: Question) -> ColumnElement[bool] | None:
    """Returns a condition that an index has and that leaves few of the wanted items; None if there is none."""
    wanted = question.wanted
    candidates: list[tuple[str, ColumnElement[bool]]] = []
    if wanted.parent is not None:
        candidates.append(("rxpipe_items_children", ITEMS.c.parent_key == wanted.parent))
    is_of_ended = wanted.status in ENDED
    if wanted.status in ("failed", "dropped") and (question.order == "slowest" or wanted.stage or wanted.error):
        candidates.append(("rxpipe_items_failed", and_(HAS_ENDED, is_in_state(wanted.status))))
    if is_of_ended and wanted.longer_than is not None and question.order != "slowest":
        candidates.append(("rxpipe_items_slow", and_(HAS_SECONDS, ITEMS.c.seconds >= wanted.longer_than)))
    if is_of_ended and wanted.since is not None and question.order == "slowest":
        until = true() if wanted.until is None else ITEMS.c.ended_at < wanted.until
        candidates.append(("rxpipe_items_ended", and_(HAS_ENDED, ITEMS.c.ended_at >= wanted.since, until)))
    for index, condition in candidates:
        some = _along(_of_run(question.run_id, literal_column("1")).where(condition), index).limit(_FEW + 1).subquery()
        if connection.execute(select(func.count()).select_from(some)).scalar_one() <= _FEW:
            return condition
    return None


def _sorted_page(
    connection: Connection,
    question: Question,
    segments: Sequence[Segment],
    few: ColumnElement[bool],
    after: Place | None,
    most: int,
) -> tuple[list[Row[Any]], Place | None]:
    which = conditions(question.wanted, question.stages, segment=None, now=question.now)
    rows = connection.execute(_of_run(question.run_id, *_SORTED).where(few, *which)).all()
    places = [place for row in rows if (place := place_of(segments, row)) is not None]
    ordered = in_order(segments, places)
    if after is not None:
        ordered = [place for place in ordered if is_behind(segments, place, after)]
    chosen = ordered[:most]
    query = _of_run(question.run_id, *_ROW).where(is_in_keys(connection.dialect.name, ITEMS.c.item_key))
    found = connection.execute(query, {PARAMETER: keys_as_parameter(place.key for place in chosen)})
    by_key = {row.item_key: row for row in found}
    page_rows = [by_key[place.key] for place in chosen if place.key in by_key]
    return page_rows, chosen[-1] if len(ordered) > most and chosen else None


def _walk(
    connection: Connection,
    question: Question,
    segments: Sequence[Segment],
    excluded: Sequence[ColumnElement[bool]],
    after: Place | None,
    most: int,
    until: float,
    clock: Callable[[], float],
) -> tuple[list[Row[Any]], Place | None]:
    """Search items in their order.

    Returns:
        The items found, and the place where to go on; None if nothing is left.
    """
    found: list[Row[Any]] = []
    for number, segment in enumerate(segments):
        if after is not None and number < after.segment:
            continue
        begin = after if after is not None and number == after.segment else None
        which = [*excluded, *conditions(question.wanted, question.stages, segment=segment.name, now=question.now)]
        for first, last in _parts(connection, question.run_id, segment, begin) if which else [(begin, None)]:
            query = _between(_of_run(question.run_id, *_ROW), segment, first, last).where(*which)
            found += connection.execute(query.order_by(*segment.ordering).limit(most + 1 - len(found))).all()
            if len(found) > most:
                kept = found[:most]
                return kept, place_of(segments, kept[-1]) if kept else after
            if clock() > until:
                if last is not None:
                    return found, last._replace(segment=number)
                if number + 1 < len(segments):
                    return found, segments[number + 1].beginning._replace(segment=number + 1)
    return found, None


def _parts(
    connection: Connection, run_id: int, segment: Segment, after: Place | None
) -> Iterator[tuple[Place | None, Place | None]]:
    """Returns the parts of a segment: the places before its first item and of its last item; None where it is open."""
    size = _PART
    while True:
        began = time.monotonic()
        query = _between(_of_run(run_id, segment.column.label("value"), ITEMS.c.item_key), segment, after, None)
        last = connection.execute(query.order_by(*segment.ordering).offset(size - 1).limit(1)).first()
        if last is None:
            yield after, None
            return
        until = Place(0, last.value, last.item_key)
        yield after, until
        after = until
        share = _PART_SECONDS / max(1e-6, time.monotonic() - began)
        size = max(_SMALLEST_PART, min(_LARGEST_PART, int(size * min(4.0, share))))


def _between(query: Select[Any], segment: Segment, first: Place | None, last: Place | None) -> Select[Any]:
    query = _along(query.where(segment.condition), segment.index)
    if first is not None:
        query = query.where(segment.behind(first))
    return query if last is None else query.where(segment.up_to(last))


def _along(query: Select[Any], index: str) -> Select[Any]:
    return query.with_hint(ITEMS, f"INDEXED BY {index}", "sqlite")


def _counts(connection: Connection, run_id: int, status: str | None) -> Iterator[int]:
    """Returns how many items there are in each state, or in one state."""
    if status is None or status in ENDED:
        found = tallies(connection, [run_id]).get(run_id)
        ended = {} if found is None else found[0]
        yield from (number for state, number in ended.items() if status in (None, state))
    for state in PENDING:
        if status in (None, state):
            query = _along(_of_run(run_id, func.count()).where(is_in_state(state)), f"rxpipe_items_{state}")
            yield connection.execute(query).scalar_one()
