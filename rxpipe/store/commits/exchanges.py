"""Rows with the prompts and replies of language models."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from rxpipe.database.json_rows import PARAMETER, as_parameter, json_rows, this_run
from rxpipe.database.text import clean_text
from rxpipe.operators.stages.times import CallTime
from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.transcript import Exchange
from rxpipe.store.commits.records import MadeCall
from rxpipe.store.schema.tables import EXCHANGES, RUNS, db_now

_LONGEST = 20_000  # characters of a message or a reply
_LARGEST = 2_000_000  # characters of rows in one statement
_AT = "to_time"


def rows_of_notes(notes: Sequence[object], key: str, stage: str, attempt: int) -> list[Mapping[str, Any]]:
    """Returns rows of the exchanges among the notes of a call.

    Args:
        notes: The notes that the function has left with its call.
        key: The item's key.
        stage: The stage's name.
        attempt: The number of the attempt in the stage, from 1.
    """
    exchanges = [note for note in notes if isinstance(note, Exchange)]
    return [
        {
            "id": uuid.uuid4().hex,  # made once, so that the same exchange is not kept twice
            "item_key": key,
            "stage": clean_text(stage),
            "attempt": attempt,
            "place": place,
            "model": _short(exchange.model),
            "messages": json.dumps([_message(one) for one in exchange.messages]),
            "reply": None if exchange.failed else _short(exchange.reply),
        }
        for place, exchange in enumerate(exchanges)
    ]


def note_call(claim: Claim, stages: Sequence[str], index: int, time: CallTime, notes: Sequence[object]) -> None:
    """Keep an ended call with its item's claim, until its result is kept.

    Args:
        claim: The item's claim.
        stages: The stages' names.
        index: The index of the call's stage.
        time: The times of the call.
        notes: The notes that the function has left with its call.
    """
    before = claim.calls
    if before is None and claim.usage is None and not notes:
        claim.calls = (index, *time)
        return
    made, stage, attempt = MadeCall(index, time), stages[index], time.attempt
    if claim.usage is not None:
        (named, number, usage), claim.usage = claim.usage, None
        if (named, number) == (stage, attempt):
            made = made._replace(usage=usage)
    if notes:
        made = made._replace(said=rows_of_notes(notes, claim.key, stage, attempt))
    if isinstance(before, list):
        before.append(made)  # pyright: ignore[reportUnknownMemberType] - a list of them
    else:
        claim.calls = [made] if before is None else [MadeCall(before[0], CallTime(*before[1:])), made]


def add_exchanges(
    connection: Connection, of_run: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], now: float | None
) -> None:
    """Keep each exchange once.

    Args:
        connection: In a transaction.
        of_run: The parameter of the run's number.
        rows: Rows made by ``rows_of_notes``.
        now: The time of the commit; None for now.
    """
    for some in _chunks(rows):
        parameters = {**of_run, _AT: now, PARAMETER: as_parameter(some)}
        connection.execute(_add_statement(connection.dialect.name), parameters)


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    content: Any = message.get("content")  # text, or parts, or none
    text = content if isinstance(content, str) else "" if content is None else json.dumps(content, default=repr)
    return {"role": _short(str(message.get("role", ""))), "content": _short(text)}


def _short(text: str) -> str:
    cleaned = clean_text(text[: _LONGEST + 1])
    return cleaned if len(cleaned) <= _LONGEST else cleaned[: _LONGEST - 1] + "…"


def _chunks(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    some: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        some.append(row)
        size += len(row["messages"]) + len(row["reply"] or "")
        if size > _LARGEST:
            yield some
            some, size = [], 0
    if some:
        yield some


@cache
def _add_statement(dialect: str) -> Insert:
    columns = [column for column in EXCHANGES.c if column.name not in ("run_id", "at")]
    rows = json_rows(dialect, *columns)
    there = exists(select(RUNS.c.id).where(RUNS.c.id == this_run()))  # a run that was pruned must leave nothing behind
    at = func.coalesce(bindparam(_AT, type_=EXCHANGES.c.at.type), db_now())
    values = select(this_run(), at, *(rows.c[column.name] for column in columns)).where(there)
    module: Any = postgresql if dialect == "postgresql" else sqlite
    added = module.insert(EXCHANGES).from_select([EXCHANGES.c.run_id, EXCHANGES.c.at, *columns], values)
    statement: Insert = added.on_conflict_do_nothing()
    return statement
