"""When the calls of an item were made: offsets, pauses, and where its work began anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rxpipe.insight.reading import CallRow

_ENDED = ("failed", "dropped")  # no other call follows unless someone asks for it


@dataclass(frozen=True, slots=True)
class TimedCall:
    """A call among the others of its item.

    Work on an item begins anew after a requeue, and when another process goes on with it.

    Attributes:
        call: The call.
        offset: Seconds since the item's first call, or its first since the work began anew; None if not known.
        pause: Seconds since the previous call of the same stage ended; None if the previous call is not of this stage.
        anew: Why the work began anew with this call: ``requeued``, or ``another process``; None if it did not.
    """

    call: CallRow
    offset: float | None
    pause: float | None = None
    anew: str | None = None

    @property
    def end(self) -> float:
        """The offset of the call's end."""
        return (self.offset or 0.0) + (self.call.seconds or 0.0)


def timed(calls: Sequence[CallRow]) -> list[TimedCall]:
    """Returns the calls with their offsets, in the same order."""
    found: list[TimedCall] = []
    before: TimedCall | None = None
    zero = 0.0
    for call in calls:
        if call.began_at is None:
            found.append(TimedCall(call, None))
            continue
        anew = None if before is None else _anew(before.call, call)
        if before is None or anew is not None:
            zero = call.began_at
        offset = call.began_at - zero
        follows = before is not None and anew is None and before.call.stage == call.stage
        pause = max(0.0, offset - before.end) if before is not None and follows else None
        before = TimedCall(call, offset, pause, anew)
        found.append(before)
    return found


def lengths(calls: Sequence[TimedCall]) -> list[tuple[str | None, float]]:
    """Returns how long each part of the work took, from its first call to the end of its last, and why it began."""
    found: list[tuple[str | None, float]] = []
    for one in calls:
        if one.offset is None:
            continue
        if not found or one.anew is not None:
            found.append((one.anew, one.end))
        else:
            found[-1] = found[-1][0], max(found[-1][1], one.end)
    return found


def _anew(before: CallRow, call: CallRow) -> str | None:
    """Returns why the work began anew between two calls; None if it went on.

    A failed call of one process is followed by another stage only if the item goes on in spite of it.
    """
    is_other = before.worker != call.worker
    if before.ended in _ENDED and (is_other or before.stage == call.stage):
        return "requeued"
    return "another process" if is_other else None
