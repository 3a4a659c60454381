"""Sums of failed calls by kind: reading all failed calls again would take long."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from rxpipe.database.json_rows import PARAMETER, as_parameter, json_rows, this_run
from rxpipe.pipeline.run.error_counts import LONGEST, without_what_varies
from rxpipe.store.commits.records import FailedCall
from rxpipe.store.schema.tables import ERRORS

_KINDS = 200  # kinds that a process counts apart, so that a million different texts make few rows
_OTHERS = "others"


class ErrorSums:
    """The sums of a run's failures that this process keeps."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def add(
        self, connection: Connection, of_run: Mapping[str, Any], failures: Sequence[FailedCall], worker: str, now: float
    ) -> None:
        """Add failures that are new in the store.

        Args:
            connection: In a transaction.
            of_run: The parameter of the run's number.
            failures: The failed calls.
            worker: The worker whose sums grow.
            now: The time.
        """
        sums: dict[str, dict[str, Any]] = {}
        for failure in failures:
            kind = self._kind(failure)
            one = sums.setdefault(kind, {"worker": worker, "kind": kind, "items": 0, "calls": 0, "last_at": now})
            is_other = kind == _OTHERS
            one |= {"stage": "" if is_other else failure.stage, "type": "" if is_other else failure.type}
            one["text"] = "errors of many other kinds" if is_other else failure.text[:LONGEST]
            one["items"] += failure.final
            one["calls"] += failure.attempt > 0
        if sums:
            rows = as_parameter(sums[kind] for kind in sorted(sums))
            connection.execute(_add_statement(connection.dialect.name), {**of_run, PARAMETER: rows})

    def _kind(self, failure: FailedCall) -> str:
        kind = kind_of(failure.stage, failure.type, failure.text)
        if kind not in self._known and len(self._known) >= _KINDS:
            return _OTHERS
        self._known.add(kind)
        return kind


def kind_of(stage: str, error_type: str, text: str) -> str:
    """Returns a key that is the same for failures whose texts differ only in parts that vary, such as numbers."""
    told = "\0".join((stage, error_type, without_what_varies(text[:LONGEST])))
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@cache
def _add_statement(dialect: str) -> Insert:
    columns = [column for column in ERRORS.c if column is not ERRORS.c.run_id]
    rows = json_rows(dialect, *columns)
    values = select(this_run(), *(rows.c[column.name] for column in columns)).where(true())  # as in claims.py
    module: Any = postgresql if dialect == "postgresql" else sqlite
    added = module.insert(ERRORS).from_select([ERRORS.c.run_id, *columns], values)
    new = added.excluded
    changes = {"items": ERRORS.c["items"] + new["items"], "calls": ERRORS.c.calls + new.calls}
    changes |= {"text": new.text, "last_at": new.last_at}
    statement: Insert = added.on_conflict_do_update(index_elements=list(ERRORS.primary_key), set_=changes)
    return statement
