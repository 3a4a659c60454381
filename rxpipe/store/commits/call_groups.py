"""Calls, with all calls of a commit in one row: a row for each call would cost as much as its checkpoint.

The calls of a group are columns of equal length in a JSON text, with times in whole microseconds. A column with nothing
to say is left out: if all calls were first attempts, or ended well, or used no tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from operator import add
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import Connection, Row, bindparam, func, literal, select, true
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from rxpipe.database.json_rows import this_run
from rxpipe.operators.core.running_call import Usage
from rxpipe.store.commits.records import Closing, PlainCall, Record
from rxpipe.store.schema.tables import CALLS, RUNS, db_now

ENDS = ("ok", "failed", "retried", "pushed_back", "dropped", "sent_back", "cancelled")
"""How calls end. A row has the index of the word in this tuple."""

_CODES = {end: code for code, end in enumerate(ENDS)}
_MICROSECONDS = 1e6
_NOTHING = Usage()
_COLUMNS = ("worker", "number", "from_at", "to_at", "count", "calls")


class KeptCall(NamedTuple):
    """A call as the store keeps it.

    Attributes:
        item: The item's key.
        stage: The stage's index.
        attempt: The number of the attempt in the stage, from 1.
        began: Start of the call, in seconds since 1970.
        waited: Seconds that the item had waited before.
        seconds: Duration of the call in seconds.
        in_flight: Running calls of the stage when the call began, the call included.
        ended: One of ``ENDS``.
        usage: Tokens and cost of the call.
    """

    item: str
    stage: int
    attempt: int
    began: float
    waited: float
    seconds: float
    in_flight: int
    ended: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class CallGroup:
    """The calls of a commit, as ``add_calls`` takes them."""

    worker: str
    number: int
    from_at: float
    to_at: float
    count: int
    calls: str


@dataclass(frozen=True, slots=True)
class MadeCalls:
    """The calls of a batch.

    Attributes:
        group: The times of the calls; None if there are no calls.
        said: Rows with the prompts and replies of language models in these calls.
    """

    group: CallGroup | None = None
    said: Sequence[Mapping[str, Any]] = ()


def made_in(batch: Sequence[Record], number: int, epoch: float) -> MadeCalls:
    """Returns the calls of a batch.

    Args:
        batch: The records, in the order of their events.
        number: Calls that the process had made before.
        epoch: The zero of the clock that times calls, in seconds since 1970.
    """
    keys: list[str] = []
    plain: list[PlainCall] = []
    usages: dict[int, Usage] = {}
    said: list[Mapping[str, Any]] = []
    worker = ""
    for record in batch:
        calls = record.calls
        if calls is None or isinstance(record, Closing):
            continue
        claim = record.claim
        worker = worker or claim.owner
        if isinstance(calls, tuple):
            keys.append(claim.key)
            plain.append(calls)
            continue
        for stage, time, usage, rows in calls:
            if usage is not None:
                usages[len(keys)] = usage
            keys.append(claim.key)
            attempt, began, waited, seconds, in_flight, ended = time
            plain.append((stage, attempt, began, waited, seconds, in_flight, ended))
            said += rows
    if not keys:
        return MadeCalls()
    first, last, columns = _columns(plain)
    columns["item"] = keys
    if usages:
        used = [usages.get(place, _NOTHING) for place in range(len(keys))]
        columns["prompt_tokens"] = [one.prompt_tokens for one in used]
        columns["completion_tokens"] = [one.completion_tokens for one in used]
        columns["cost"] = [one.cost for one in used]
    text = to_json(columns).decode()
    return MadeCalls(CallGroup(worker, number, epoch + first, epoch + last, len(keys), text), said)


def _columns(calls: Sequence[PlainCall]) -> tuple[float, float, dict[str, Sequence[Any]]]:
    """Returns the start of the first call, the end of the last call, and the columns of times."""
    stages, attempts, began, waited, seconds, in_flight, ended = zip(*calls, strict=True)
    first = min(began)
    columns: dict[str, Sequence[Any]] = {
        "stage": stages,
        "began": [int((one - first) * _MICROSECONDS) for one in began],
        "waited": [int(one * _MICROSECONDS) for one in waited],
        "seconds": [int(one * _MICROSECONDS) for one in seconds],
        "in_flight": in_flight,
    }
    if attempts.count(1) < len(attempts):
        columns["attempt"] = attempts
    if ended.count("ok") < len(ended):
        columns["ended"] = [_CODES.get(end, end) for end in ended]
    return first, max(map(add, began, seconds)), columns


def calls_of(row: Row[Any]) -> Iterator[KeptCall]:
    """Returns the calls of a row of ``rxpipe_calls``."""
    columns: dict[str, list[Any]] = json.loads(row.calls)
    count = len(columns["item"])
    nothing = [0] * count
    prompts, completions = columns.get("prompt_tokens", nothing), columns.get("completion_tokens", nothing)
    usages = zip(prompts, completions, columns.get("cost", nothing), strict=True)
    for item, stage, attempt, began, waited, seconds, in_flight, ended, used in zip(
        columns["item"],
        columns["stage"],
        columns.get("attempt", [1] * count),
        columns["began"],
        columns["waited"],
        columns["seconds"],
        columns["in_flight"],
        columns.get("ended", nothing),
        usages,
        strict=True,
    ):
        yield KeptCall(
            item,
            stage,
            attempt,
            row.from_at + began / _MICROSECONDS,
            waited / _MICROSECONDS,
            seconds / _MICROSECONDS,
            in_flight,
            ENDS[ended] if isinstance(ended, int) else ended,
            Usage(prompt_tokens=used[0], completion_tokens=used[1], cost=used[2]),
        )


def recorded_calls(connection: Connection, run_id: int) -> Iterator[KeptCall]:
    """Returns all kept calls of a run, roughly in the order in which they ended."""
    query = select(CALLS).where(CALLS.c.run_id == run_id).order_by(CALLS.c.at, CALLS.c.worker, CALLS.c.number)
    with connection.execute(query.execution_options(yield_per=20)) as rows:
        for row in rows:
            yield from calls_of(row)


def add_calls(connection: Connection, of_run: Mapping[str, Any], group: CallGroup, now: float | None) -> None:
    """Keep the calls of a batch once, even if the batch is committed again or in parts.

    Args:
        connection: In a transaction.
        of_run: The parameter of the run's number.
        group: The calls.
        now: The time of the checkpoints in the same commit; None for now.
    """
    parameters = {f"to_{name}": value for name, value in asdict(group).items()}
    connection.execute(_add_statement(connection.dialect.name), {**of_run, **parameters, "to_at_all": now})


@cache
def _add_statement(dialect: str) -> Insert:
    given = {CALLS.c[name]: bindparam(f"to_{name}", type_=CALLS.c[name].type) for name in _COLUMNS}
    at = func.coalesce(bindparam("to_at_all", type_=CALLS.c.at.type), db_now())
    values = {CALLS.c.run_id: this_run(), CALLS.c.at: at, **given}
    # A run that was pruned meanwhile must leave nothing behind.
    there = select(literal(1)).select_from(RUNS).where(RUNS.c.id == this_run()).exists()
    module: Any = postgresql if dialect == "postgresql" else sqlite
    added = module.insert(CALLS).from_select(list(values), select(*values.values()).where(true(), there))
    statement: Insert = added.on_conflict_do_nothing()
    return statement
