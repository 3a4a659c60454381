"""What happens to claimed items, on its way into the store."""

from __future__ import annotations

import reprlib
import traceback
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rxpipe.database.encoding import json_text, one_line
from rxpipe.database.text import clean_text
from rxpipe.database.writer import Made
from rxpipe.operators.core.running_call import Usage
from rxpipe.pipeline.ports import Claim, ClaimedOutcome
from rxpipe.store.commits.outputs import Output

_LONGEST = 20_000  # characters of a traceback or an input that are kept
_SHORT = reprlib.Repr()  # a plain one might write what a value shares without end
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 4, _LONGEST, _LONGEST
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 20
_MOST_TOKENS = 2**53  # of one call, so that sums of them fit into 64 bits


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """A stage has returned.

    Attributes:
        claim: Of the item.
        stage: The stage's index.
        attempts: Calls made for the item so far.
        output: What it returned.
    """

    claim: Claim
    stage: int
    attempts: int
    output: Output


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


@dataclass(slots=True, kw_only=True)
class Used:
    """A call has used something, whether it failed or not.

    Attributes:
        claim: Of the item.
        id: Made once, so that the same one is not kept twice.
        stage: The stage's name.
        attempt: The call's number in this stage, from 1.
        usage: What, in numbers that any database takes.
    """

    claim: Claim
    id: str
    stage: str
    attempt: int
    usage: Usage


@dataclass(slots=True, kw_only=True)
class Ended:
    """An item has left the stages.

    Attributes:
        claim: Its.
        outcome: What goes to the sink.
        made: Its row, once that was made.
    """

    claim: Claim
    outcome: ClaimedOutcome
    made: Made | None = None


class Closing:
    """Nothing follows: give back what is unfinished."""


Record = Checkpoint | FailedCall | Used | Ended | Closing


def is_of_call(record: Record) -> bool:
    """Whether a record tells of a call that has ended, which a kill would lose."""
    return isinstance(record, (Checkpoint, Used)) or (isinstance(record, FailedCall) and record.attempt > 0)


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


def used(claim: Claim, *, stage: str, attempt: int, usage: Usage) -> Used:
    """What a call used as it is kept."""
    kept = Usage(
        prompt_tokens=min(int(usage.prompt_tokens), _MOST_TOKENS),
        completion_tokens=min(int(usage.completion_tokens), _MOST_TOKENS),
        cost=float(usage.cost),
    )
    return Used(claim=claim, id=uuid.uuid4().hex, stage=clean_text(stage), attempt=attempt, usage=kept)


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
