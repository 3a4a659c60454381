"""Runs, workers and errors in lists, from sums that commits keep. Reads no large table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, func, select

from rxpipe.identity.signature import from_text
from rxpipe.insight.reading import ErrorRow, RunRow, WorkerRow
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.commits.tallies import tallies
from rxpipe.store.queries.backlog import pending_counts
from rxpipe.store.queries.history import alive, workers
from rxpipe.store.schema.tables import ENDED, ERRORS, PENDING, RUNS, WORKERS

_MOST_ERRORS = 50
_LARGEST = 2**31 - 1  # highest number of a run, in PostgreSQL


def run_rows(connection: Connection, number: int | None = None) -> list[RunRow]:
    """Returns all runs, or one run, the latest first."""
    if number is not None and not 0 <= number <= _LARGEST:
        return []
    query = select(RUNS).order_by(RUNS.c.id.desc())
    rows = connection.execute(query if number is None else query.where(RUNS.c.id == number)).all()
    ended = tallies(connection, None if number is None else [number])
    pending = _pending(connection, number)
    live = [worker.run_id for worker in alive(workers(connection, number))]
    signs = _signs(connection, number)
    found: list[RunRow] = []
    for row in rows:
        counts, usage = ended.get(row.id, (dict.fromkeys(ENDED, 0), Usage()))
        of_run = {**dict.fromkeys(PENDING, 0), **pending.get(row.id, {})}
        at_work = live.count(row.id)
        is_finished = row.finished_at is not None and not any(of_run.values()) and not at_work
        found.append(
            RunRow(
                number=row.id,
                name=row.name,
                state="running" if at_work else "finished" if is_finished else "unfinished",
                stages=tuple(stage.name for stage in from_text(row.stages)),
                counts={**counts, **of_run},
                workers=at_work,
                began_at=row.created_at,
                ended_at=row.finished_at if is_finished else None,
                active_at=max(row.created_at, row.finished_at or 0, signs.get(row.id, 0)),
                usage=usage,
            )
        )
    return found


def worker_rows(connection: Connection, run_id: int) -> list[WorkerRow]:
    """Returns a run's workers, including ended ones, the latest first."""
    return [
        WorkerRow(
            id=one.id,
            host=one.host,
            pid=one.pid,
            state=one.state,
            began_at=one.started_at,
            heartbeat_at=one.heartbeat_at,
            held=one.held,
            ended_at=one.ended_at,
        )
        for one in reversed(workers(connection, run_id, ended=True))
    ]


def error_rows(connection: Connection, run_id: int) -> list[ErrorRow]:
    """Returns failures in groups, the commonest first."""
    kinds: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(select(ERRORS).where(ERRORS.c.run_id == run_id)):
        kinds.setdefault(row.kind, []).append(row)
    found: list[ErrorRow] = []
    for rows in kinds.values():
        latest = max(rows, key=lambda row: row.last_at)
        sums: dict[str, Any] = {name: sum(getattr(row, name) for row in rows) for name in ("items", "calls")}
        of_latest: dict[str, Any] = {
            "stage": latest.stage,
            "type": latest.type,
            "text": latest.text,
            "last_at": latest.last_at,
        }
        found.append(ErrorRow(**of_latest, **sums))
    found.sort(key=lambda one: (-max(one.items, one.calls), one.stage, one.text))
    return found[:_MOST_ERRORS]


def _pending(connection: Connection, number: int | None) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {}
    for state in PENDING:
        for run, items in pending_counts(connection, state, number).items():
            found.setdefault(run, {})[state] = items
    return found


def _signs(connection: Connection, number: int | None) -> dict[int, float]:
    """Returns the last sign of life of each run's workers."""
    query = select(WORKERS.c.run_id, func.max(WORKERS.c.heartbeat_at).label("at")).group_by(WORKERS.c.run_id)
    rows = connection.execute(query if number is None else query.where(WORKERS.c.run_id == number))
    return {row.run_id: row.at for row in rows}
