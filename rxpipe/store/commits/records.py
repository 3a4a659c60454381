"""The events of claimed items, on their way into the store."""

from __future__ import annotations

import reprlib
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from rxpipe.database.encoding import json_text, one_line
from rxpipe.database.text import clean_text
from rxpipe.database.writer import Made
from rxpipe.identity.signature import StageSignature
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.times import CallTime
from rxpipe.pipeline.claim import Claim, ClaimedOutcome
from rxpipe.pipeline.outcome import Outcome
from rxpipe.store.commits.outputs import Output

_LONGEST = 20_000  # characters of a traceback or an input that are kept
_SHORT = reprlib.Repr()  # a plain Repr might write shared parts without end
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 4, _LONGEST, _LONGEST
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 20
_MOST_TOKENS = 2**53  # of one call, so that sums fit into 64 bits


class MadeCall(NamedTuple):
    """A call, on its way into the store.

    Attributes:
        stage: The stage's index.
        time: The times of the call, and how it ended.
        usage: Tokens and cost of the call, if it reported them.
        said: Rows of ``rxpipe_exchanges``, without the columns that the commit adds.
    """

    stage: int
    time: CallTime
    usage: Usage | None = None
    said: Sequence[Mapping[str, Any]] = ()


PlainCall: TypeAlias = tuple[int, int, float, float, float, int, str]
"""A call's stage and then its time, for the usual call that has nothing more to keep.

A plain tuple of numbers and a text, as the garbage collector soon ignores it.
"""

Calls: TypeAlias = PlainCall | list[MadeCall]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResult:
    """The key under which other runs find a checkpoint's result.

    Attributes:
        stage: The stage's signature.
        input_hash: The hash of the stage's input.
        usage: Usage of the calls, in numbers that any database takes.
    """

    stage: StageSignature
    input_hash: str
    usage: Usage


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """A stage has returned.

    Attributes:
        claim: The item's claim.
        stage: The stage's index.
        attempts: Calls made for the item so far.
        output: The stage's result.
        start: Number of stages that had a checkpoint before; None if that is ``stage``. An item that is called with its
            children goes from the stage that made them to the stage that collects them.
        new: Set if other runs may use the result again.
        calls: Calls of the item that have ended since its last record, or None.
    """

    claim: Claim
    stage: int
    attempts: int
    output: Output
    start: int | None = None
    new: NewResult | None = None
    calls: Calls | None = None


@dataclass(slots=True, kw_only=True)
class NewChild:
    """A child that a stage has made.

    Attributes:
        claim: The child's claim.
        output: The child's value; None if the value cannot be kept.
    """

    claim: Claim
    output: Output | None


@dataclass(slots=True, kw_only=True)
class Spawned:
    """A stage has made children of an item.

    Attributes:
        claim: The item's claim.
        stage: The stage's index.
        attempts: Calls made for the item so far.
        children: The new children.
        made: Number of children so far, these included.
        is_all: True if no more children will come.
        collected_by: If ``is_all``: the index of the stage that is called with the children, or None.
        hands_over: If ``is_all``: True if the store waits for the children, as this worker does not have all of them.
        start: As in ``Checkpoint``.
        outcome: The item's outcome, if the item ends with this record. Its row is written now, as its children may take
            long.
        made_row: The row, once it is made.
        calls: Calls of the item that have ended since its last record, or None.
    """

    claim: Claim
    stage: int
    attempts: int
    children: Sequence[NewChild]
    made: int
    is_all: bool
    collected_by: int | None
    hands_over: bool
    start: int | None = None
    outcome: Outcome[Any] | None = None
    made_row: Made | None = None
    calls: Calls | None = None


@dataclass(slots=True, kw_only=True)
class SentBack:
    """A stage has sent an item back to an earlier stage.

    Attributes:
        claim: The item's claim.
        stage: The stage's index.
        to: The index of the earlier stage.
        kept: Number of stages that keep a checkpoint: ``to``, or fewer if the earlier stage is called with the item's
            children.
        attempts: Calls made for the item so far.
        rounds: How often the item was sent back by now.
        feedback: The feedback for the earlier stage.
        start: As in ``Checkpoint``.
        calls: Calls of the item that have ended since its last record, or None.
    """

    claim: Claim
    stage: int
    to: int
    kept: int
    attempts: int
    rounds: int
    feedback: Output
    start: int | None = None
    calls: Calls | None = None


@dataclass(slots=True, kw_only=True)
class FailedCall:
    """A call has failed.

    Attributes:
        claim: The item's claim.
        id: Made once, so that the same failure is not kept twice.
        stage: The stage's name; ``database`` for a refused row.
        attempt: The number of the attempt in this stage, from 1; 0 if the item failed before any call.
        final: True if no other call follows.
        type: The type of the error.
        text: The error as one line.
        traceback: The error's traceback.
        input: The argument of the call, as JSON; None if it cannot be shown.
        calls: Calls of the item that have ended since its last record, or None.
    """

    claim: Claim
    id: str
    stage: str
    attempt: int
    final: bool
    type: str
    text: str
    traceback: str
    input: str | None
    calls: Calls | None = None


@dataclass(slots=True, kw_only=True)
class Used:
    """A call has used tokens or money, whether it failed or not.

    Attributes:
        claim: The item's claim.
        id: Made once, so that the same usage is not kept twice.
        stage: The stage's name.
        attempt: The number of the attempt in this stage, from 1.
        usage: The usage, in numbers that any database takes.
        saved: True if an earlier call had this usage, and its result was used again instead of a call.
        calls: Calls of the item that have ended since its last record, or None.
    """

    claim: Claim
    id: str
    stage: str
    attempt: int
    usage: Usage
    saved: bool = False
    calls: Calls | None = None


@dataclass(slots=True, kw_only=True)
class Ended:
    """An item has left the stages.

    Attributes:
        claim: The item's claim.
        outcome: The outcome that goes to the sink.
        made: The item's row, once it is made.
        calls: Calls of the item that have ended since its last record, or None.
    """

    claim: Claim
    outcome: ClaimedOutcome
    made: Made | None = None
    calls: Calls | None = None


class Closing:
    """Nothing follows: give back the unfinished items."""

    calls: None = None


Record = Checkpoint | Spawned | SentBack | FailedCall | Used | Ended | Closing


_RESULTS = frozenset({Checkpoint, Spawned, SentBack})
_OF_CALLS = _RESULTS | {Used}


def is_of_call(record: Record) -> bool:
    """Returns True if a record is about an ended call that a kill would lose."""
    return record.__class__ in _OF_CALLS or (isinstance(record, FailedCall) and record.attempt > 0)


def is_result(record: Record) -> bool:
    """Returns True if a record has the result of a function."""
    return record.__class__ in _RESULTS


def failed_call(claim: Claim, *, stage: str, attempt: int, error: BaseException, value: Any, final: bool) -> FailedCall:
    """Returns the record of a failed call."""
    kind = type(error)
    named = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return FailedCall(
        claim=claim,
        id=uuid.uuid4().hex,
        stage=clean_text(stage),
        attempt=attempt,
        final=final,
        type=clean_text(named),
        text=one_line(error),
        traceback=_trace(error),
        input=_shown(value),
    )


def used(claim: Claim, *, stage: str, attempt: int, usage: Usage, saved: bool = False) -> Used:
    """Returns the record of a call's usage.

    With ``saved``, an earlier call had the usage, and its result was used again.
    """
    return Used(
        claim=claim,
        id=uuid.uuid4().hex,
        stage=clean_text(stage),
        attempt=attempt,
        usage=plain_usage(usage),
        saved=saved,
    )


def plain_usage(usage: Usage) -> Usage:
    """Returns the usage in numbers that any database takes."""
    return Usage(
        prompt_tokens=min(int(usage.prompt_tokens), _MOST_TOKENS),
        completion_tokens=min(int(usage.completion_tokens), _MOST_TOKENS),
        cost=float(usage.cost),
    )


def _trace(error: BaseException) -> str:
    try:
        return clean_text("".join(traceback.format_exception(error)))[-_LONGEST:]
    except Exception:  # noqa: BLE001 - an odd exception, with attributes that Python does not expect
        return ""


def _shown(value: Any) -> str | None:
    ways: tuple[Callable[[Any], str], ...] = (json_text, _SHORT.repr)
    for tell in ways[isinstance(value, Iterator) :]:  # an iterator would be used up by JSON
        try:
            return clean_text(tell(value))[:_LONGEST]
        except Exception:  # noqa: BLE001 - a foreign __repr__ may raise anything
            continue
    return None
