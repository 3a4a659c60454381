"""Filters of item lists, as conditions of a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, false, func, literal

from rxpipe.insight.reading import ItemFilter
from rxpipe.store.queries.failures import INDEX_OF_STAGE
from rxpipe.store.queries.history import DATABASE
from rxpipe.store.reading.item_order import is_in_state
from rxpipe.store.schema.tables import ITEMS

_PAST_STAGES = ("written", "expanded", "collected")


def narrowed(wanted: ItemFilter) -> ItemFilter:
    """Returns the filter with empty texts replaced by None."""
    return replace(wanted, error=wanted.error or None, text=wanted.text or None, stage=wanted.stage or None)


def can_be(text: str | None) -> bool:
    """Returns True if a database can hold a text. No database holds a NUL or half a surrogate pair."""
    return text is None or ("\0" not in text and not any("\ud800" <= one <= "\udfff" for one in text))


def can_have_items(wanted: ItemFilter) -> bool:
    """Returns True if any item can match the filter."""
    return all(can_be(text) for text in (wanted.stage, wanted.error, wanted.text, wanted.parent))


def conditions(
    wanted: ItemFilter, stages: Sequence[str], *, segment: str | None, now: float
) -> list[ColumnElement[bool]]:
    """Returns the conditions for the wanted items.

    Args:
        wanted: The filter.
        stages: The names of the run's stages.
        segment: The segment that is read, ``ended`` or a state; None for items in any segment.
        now: The time.
    """
    found: list[ColumnElement[bool]] = []
    if wanted.status is not None:
        found.append(is_in_state(wanted.status))
    if wanted.stage is not None:
        places = [*stages, DATABASE]
        index = places.index(wanted.stage) if wanted.stage in places else -1
        its_stage = INDEX_OF_STAGE
        found += [its_stage == index, ITEMS.c.state.not_in(_PAST_STAGES)] if index >= 0 else [false()]
    if wanted.error is not None:
        found.append(ITEMS.c.last_error.icontains(wanted.error, autoescape=True))
    if wanted.text is not None:
        found.append(ITEMS.c.item_key.icontains(wanted.text, autoescape=True))
    if wanted.parent is not None:
        found.append(ITEMS.c.parent_key == wanted.parent)
    return found + _of_times(wanted, segment, now)


def _of_times(wanted: ItemFilter, segment: str | None, now: float) -> list[ColumnElement[bool]]:
    changed: ColumnElement[Any]
    took: ColumnElement[Any]
    if segment is None:
        changed = func.coalesce(ITEMS.c.ended_at, ITEMS.c.taken_at)
        took = func.coalesce(ITEMS.c.seconds, now - ITEMS.c.taken_at)
    elif segment == "ended":
        changed, took = ITEMS.c.ended_at, ITEMS.c.seconds
    else:
        changed, took = ITEMS.c.taken_at, literal(now) - ITEMS.c.taken_at
    found: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        found.append(changed >= wanted.since)
    if wanted.until is not None:
        found.append(changed < wanted.until)
    if wanted.longer_than is not None:
        found.append(took >= wanted.longer_than)
    return found
