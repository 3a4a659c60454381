"""The calls made for an item, put together from several tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, select

from rxpipe.insight.reading import CallRow, Exchange
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.commits.call_groups import KeptCall, calls_of
from rxpipe.store.schema.tables import CALLS, CHECKPOINTS, EXCHANGES, FAILURES, USAGE

_MOST_GROUPS = 100  # groups that are searched for calls whose commit no other table tells
_MOST = 2_000  # rows of one kind

_FAILED = ("failed", "retried")  # a refusal has no row, and the number of the attempt that follows
_WorkersCall = tuple[str, KeptCall]


def calls_of_item(connection: Connection, run_id: int, item: Row[Any], stages: Sequence[str]) -> list[CallRow]:
    """Returns the calls of an item, the first one first.

    Args:
        connection: In a transaction that reads.
        run_id: The run's number.
        item: The item's row.
        stages: The names of the run's stages.
    """

    def its(table: Any, *order: Any) -> Sequence[Row[Any]]:
        query = select(table).where(table.c.run_id == run_id, table.c.item_key == item.item_key)
        return connection.execute(query.order_by(*order).limit(_MOST)).all()

    failures = its(FAILURES, FAILURES.c.at, FAILURES.c.attempt)
    checkpoints = its(CHECKPOINTS, CHECKPOINTS.c.stage)
    used = its(USAGE, USAGE.c.at, USAGE.c.attempt)
    kept = _kept(connection, run_id, item, [row.at for row in (*checkpoints, *failures, *used)])
    left = [row for row in failures if row.attempt > 0]
    found: list[CallRow] = []
    for worker, call in kept:
        name = stages[call.stage] if call.stage < len(stages) else str(call.stage)
        failure = _taken(left, name, call.attempt) if call.ended in _FAILED else None
        found.append(_of_kept(call, name, failure, worker))
    if not kept and item.attempts:  # from a store that kept no calls then
        cached = {row.stage for row in used if row.saved}
        places: list[int] = [row.stage for row in checkpoints]
        called = [stages[place] for place in places if 0 <= place < len(stages)]
        found += [_of_checkpoint(stage) for stage in called if stage not in cached]
    unkept = {(row.stage, row.attempt): _usage(row) for row in used if not row.saved}
    found += [_of_failure(row, unkept.get((row.stage, row.attempt), Usage())) for row in left]
    found += [_of_cache(row) for row in used if row.saved]
    found.sort(key=lambda call: (_place(call, stages), call.began_at or 0.0, call.attempt))
    return _with_exchanges(connection, run_id, item.item_key, found)


def _kept(connection: Connection, run_id: int, item: Row[Any], times: Sequence[float]) -> list[_WorkersCall]:
    """Returns the item's calls, each with its worker, from groups committed with its rows.

    Otherwise from all groups while it was on its way.
    """
    moments = {*times, *([] if item.ended_at is None else [item.ended_at])}
    ours = select(CALLS).where(CALLS.c.run_id == run_id)
    rows: Sequence[Row[Any]] = []
    if moments:
        rows = connection.execute(ours.where(CALLS.c.at.in_(sorted(moments)[:_MOST]))).all()
    found = _in(rows, item.item_key)
    if len(found) < item.attempts and item.taken_at is not None:
        around = ours.where(CALLS.c.at >= item.taken_at)
        around = around if item.ended_at is None else around.where(CALLS.c.at <= item.ended_at + 1.0)
        order = CALLS.c.at.desc() if item.ended_at is None else CALLS.c.at
        known = {(row.worker, row.number) for row in rows}
        others = connection.execute(around.order_by(order).limit(_MOST_GROUPS)).all()
        found += _in([row for row in others if (row.worker, row.number) not in known], item.item_key)
    return sorted(found, key=lambda pair: pair[1].began)


def _in(rows: Sequence[Row[Any]], key: str) -> list[_WorkersCall]:
    quoted = json.dumps(key, ensure_ascii=False)
    return [(row.worker, call) for row in rows if quoted in row.calls for call in calls_of(row) if call.item == key]


def _taken(failures: list[Row[Any]], stage: str, attempt: int) -> Row[Any] | None:
    """Returns the first failure of such a call, and removes it from the list."""
    for place, failure in enumerate(failures):
        if (failure.stage, failure.attempt) == (stage, attempt):
            return failures.pop(place)
    return None


def _of_kept(call: KeptCall, stage: str, failure: Row[Any] | None, worker: str) -> CallRow:
    return CallRow(
        stage=stage,
        attempt=call.attempt,
        began_at=call.began,
        waited=call.waited,
        seconds=call.seconds,
        in_flight=call.in_flight,
        ended=call.ended,
        usage=call.usage,
        error=None if failure is None else failure.text,
        traceback=None if failure is None else failure.traceback or None,
        worker=worker,
    )


def _unknown(stage: str, attempt: int, ended: str) -> CallRow:
    return CallRow(stage=stage, attempt=attempt, began_at=None, waited=None, seconds=None, in_flight=None, ended=ended)


def _of_checkpoint(stage: str) -> CallRow:
    return _unknown(stage, 1, "ok")


def _of_failure(row: Row[Any], used: Usage) -> CallRow:
    call = _unknown(row.stage, row.attempt, "failed" if row.final else "retried")
    return replace(call, usage=used, error=row.text, traceback=row.traceback or None)


def _of_cache(row: Row[Any]) -> CallRow:
    return replace(_unknown(row.stage, row.attempt, "ok"), usage=_usage(row), cached=True)


def _usage(row: Row[Any]) -> Usage:
    return Usage(prompt_tokens=row.prompt_tokens, completion_tokens=row.completion_tokens, cost=row.cost)


def _place(call: CallRow, stages: Sequence[str]) -> int:
    """Returns the sort key of a call. Calls without a time come first, in the order of the stages."""
    if call.began_at is not None:
        return len(stages) + 1
    return stages.index(call.stage) if call.stage in stages else len(stages)


def _with_exchanges(connection: Connection, run_id: int, key: str, calls: list[CallRow]) -> list[CallRow]:
    ours = EXCHANGES.c.run_id == run_id, EXCHANGES.c.item_key == key
    query = select(EXCHANGES).where(*ours).order_by(EXCHANGES.c.at, EXCHANGES.c.place).limit(_MOST)
    by_call: dict[tuple[str, int], list[list[Exchange]]] = {}
    for row in connection.execute(query):
        groups = by_call.setdefault((row.stage, row.attempt), [])
        if row.place == 0 or not groups:
            groups.append([])
        exchange = Exchange(model=row.model, messages=tuple(json.loads(row.messages)), reply=row.reply)
        groups[-1].append(exchange)
    found: list[CallRow] = []
    for call in calls:
        groups = [] if call.cached else by_call.get((call.stage, call.attempt), [])
        found.append(replace(call, exchanges=tuple(groups.pop(0))) if groups else call)
    return found
