"""What happens to claimed items, on its way into the store."""

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
_SHORT = reprlib.Repr()  # a plain one might write what a value shares without end
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 4, _LONGEST, _LONGEST
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 20
_MOST_TOKENS = 2**53  # of one call, so that sums of them fit into 64 bits


class MadeCall(NamedTuple):
    """A call, on its way into the store.

    Attributes:
        stage: The stage's index.
        time: When it was made, and how it ended.
        usage: What it used, if it told.
        said: Rows of ``rxpipe_exchanges``, but for what the commit adds.
    """

    stage: int
    time: CallTime
    usage: Usage | None = None
    said: Sequence[Mapping[str, Any]] = ()


PlainCall: TypeAlias = tuple[int, int, float, float, float, int, str]
"""A call's stage and then its time, where there is nothing more to tell, as nearly always.

A plain tuple of numbers and a text, as the garbage collector soon looks at it no more.
"""

Calls: TypeAlias = PlainCall | list[MadeCall]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewResult:
    """What a checkpoint's result is kept by for other runs.

    Attributes:
        stage: The stage's signature.
        input_hash: The hash of what it was called with.
        usage: What the calls used, in numbers that any database takes.
    """

    stage: StageSignature
    input_hash: str
    usage: Usage


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """A stage has returned.

    Attributes:
        claim: Of the item.
        stage: The stage's index.
        attempts: Calls made for the item so far.
        output: What it returned.
        start: How many stages had a checkpoint before, if not as many as ``stage`` says: an item that is called with
            its children goes from the stage that made them to the one that collects them.
        new: Set if other runs may use the result again.
        calls: Calls of the item that have ended since what was told before, or None.
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
        claim: The child's.
        output: Its value; None if that cannot be kept.
    """

    claim: Claim
    output: Output | None


@dataclass(slots=True, kw_only=True)
class Spawned:
    """A stage has made children of an item.

    Attributes:
        claim: Of the item.
        stage: The stage's index.
        attempts: Calls made for the item so far.
        children: The new ones.
        made: How many there are, with them.
        is_all: Whether no more will come.
        collected_by: Then: the index of the stage that is to be called with them, or None.
        hands_over: Then: whether the store is to wait for them, as some are not in the hands of this worker.
        start: As of a ``Checkpoint``.
        outcome: How the item has ended with that, if it has: its row is written now, as its children may take long.
        made_row: The row, once that was made.
        calls: Calls of the item that have ended since what was told before, or None.
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
    """A stage has sent an item back to an earlier one.

    Attributes:
        claim: Of the item.
        stage: The stage's index.
        to: That of the earlier one.
        kept: How many stages have a checkpoint then: ``to``, but fewer if that is called with the item's children.
        attempts: Calls made for the item so far.
        rounds: How often it was sent back by now.
        feedback: What the earlier stage is told.
        start: As of a ``Checkpoint``.
        calls: Calls of the item that have ended since what was told before, or None.
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
        claim: Of the item.
        id: Made once, so that the same one is not kept twice.
        stage: The stage's name; ``database`` for a refused row.
        attempt: The call's number in this stage, from 1; 0 if the item failed before it was called with.
        final: Whether no other call follows.
        type: What it raised.
        text: The error as one line.
        traceback: Where.
        input: What it was called with, as JSON; None if that cannot be said.
        calls: Calls of the item that have ended since what was told before, or None.
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
    """A call has used something, whether it failed or not.

    Attributes:
        claim: Of the item.
        id: Made once, so that the same one is not kept twice.
        stage: The stage's name.
        attempt: The call's number in this stage, from 1.
        usage: What, in numbers that any database takes.
        saved: Whether an earlier call has, whose result was used again instead of a call.
        calls: Calls of the item that have ended since what was told before, or None.
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
        claim: Its.
        outcome: What goes to the sink.
        made: Its row, once that was made.
        calls: Calls of the item that have ended since what was told before, or None.
    """

    claim: Claim
    outcome: ClaimedOutcome
    made: Made | None = None
    calls: Calls | None = None


class Closing:
    """Nothing follows: give back what is unfinished."""

    calls: None = None


Record = Checkpoint | Spawned | SentBack | FailedCall | Used | Ended | Closing


_RESULTS = frozenset({Checkpoint, Spawned, SentBack})
_OF_CALLS = _RESULTS | {Used}


def is_of_call(record: Record) -> bool:
    """Whether a record tells of a call that has ended, which a kill would lose."""
    return record.__class__ in _OF_CALLS or (isinstance(record, FailedCall) and record.attempt > 0)


def is_result(record: Record) -> bool:
    """Whether a record has what a function returned."""
    return record.__class__ in _RESULTS


def failed_call(claim: Claim, *, stage: str, attempt: int, error: BaseException, value: Any, final: bool) -> FailedCall:
    """A failed call as it is kept."""
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
    """What a call used as it is kept; ``saved``: an earlier call, whose result was used again."""
    return Used(
        claim=claim,
        id=uuid.uuid4().hex,
        stage=clean_text(stage),
        attempt=attempt,
        usage=plain_usage(usage),
        saved=saved,
    )


def plain_usage(usage: Usage) -> Usage:
    """The same in numbers that any database takes."""
    return Usage(
        prompt_tokens=min(int(usage.prompt_tokens), _MOST_TOKENS),
        completion_tokens=min(int(usage.completion_tokens), _MOST_TOKENS),
        cost=float(usage.cost),
    )


def _trace(error: BaseException) -> str:
    try:
        return clean_text("".join(traceback.format_exception(error)))[-_LONGEST:]
    except Exception:  # noqa: BLE001 - an odd exception, of whose attributes Python expects something else
        return ""


def _shown(value: Any) -> str | None:
    ways: tuple[Callable[[Any], str], ...] = (json_text, _SHORT.repr)
    for tell in ways[isinstance(value, Iterator) :]:  # as JSON an iterator would be used up
        try:
            return clean_text(tell(value))[:_LONGEST]
        except Exception:  # noqa: BLE001 - whatever a foreign __repr__ raises
            continue
    return None
