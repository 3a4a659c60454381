"""Settings and counts of a stage; a failed item; the interface through which pipelines handle items."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from ..core.running_call import Usage
from ..core.worker import Function
from .adaptive import AdaptiveConcurrency
from .limiter import Limiter
from .options import Batch
from .retry_policy import Retry
from .times import CallTime, StageTimes

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure(Generic[A]):
    """An item whose last attempt failed.

    Attributes:
        value: The item, as it came into the stage.
        error: The error of the last attempt.
        stage: The stage's name.
        attempts: Number of calls, without those that were pushed back.
    """

    value: A
    error: BaseException
    stage: str
    attempts: int


@dataclass(slots=True)
class StageStats:
    """The live counts of a stage.

    Attributes:
        name: The stage's name.
        concurrency: Calls that may run at once. With ``AdaptiveConcurrency``: the number now.
        taken: Items that came in and need a call.
        started: Calls, retries included.
        done: Items whose function returned.
        failed: Items whose last attempt failed.
        retried: Failed calls that another attempt follows.
        pushed_back: Calls that the server refused for now, as with a 429, and that are made again.
        refusal: The server's text of the latest of these refusals; empty if there was none.
        cancelled: Calls that ran when the stage was disposed.
        ending: The part of ``cancelled`` that was told to end and has not ended yet.
        discarded: Items that waited when the stage was disposed.
        dropped: Items that the function dropped.
        sent_back: Items that the function sent back to an earlier stage.
        cached: Items that got the result of an earlier call instead of a call of their own.
        saved: Total usage of those earlier calls.
        abandoned: Calls that timed out or were given up, and could not be stopped.
        busy: Total seconds spent in calls.
        usage: Total usage that the calls recorded.
        spawned: Children that the function gave.
        times: How the slots spend their time.
    """

    name: str = ""
    concurrency: float = 1
    taken: int = 0
    started: int = 0
    done: int = 0
    failed: int = 0
    retried: int = 0
    pushed_back: int = 0
    refusal: str = ""
    cancelled: int = 0
    ending: int = 0
    discarded: int = 0
    dropped: int = 0
    sent_back: int = 0
    cached: int = 0
    abandoned: int = 0
    busy: float = 0.0
    usage: Usage = field(default_factory=Usage)
    saved: Usage = field(default_factory=Usage)
    spawned: int = 0
    times: StageTimes = field(default_factory=StageTimes)
    _slot_seconds: float = 0.0  # up to the last change of the concurrency
    _changed_at: float | None = None

    def resize(self, concurrency: int, now: float) -> None:
        """Set the number of calls that may run at once."""
        if self._changed_at is not None:
            self._slot_seconds += self.concurrency * (now - self._changed_at)
        self.concurrency, self._changed_at = concurrency, now

    def slot_seconds(self, began: float, now: float) -> float:
        """Returns the total seconds in which calls could have run between two times, in all slots."""
        since = began if self._changed_at is None else self._changed_at
        return self._slot_seconds + self.concurrency * max(0.0, now - since)

    @property
    def ended(self) -> int:
        """Calls that ended by themselves or timed out."""
        return self.finished + self.retried + self.pushed_back

    @property
    def finished(self) -> int:
        """Items whose last call has ended."""
        return self.done + self.failed + self.dropped + self.sent_back

    @property
    def running(self) -> int:
        """Calls that run now, without abandoned ones."""
        return self.started - self.ended - self.cancelled

    @property
    def waiting(self) -> int:
        """Items that wait for a slot or for their next attempt."""
        return self.taken - self.finished - self.cancelled - self.discarded - self.running


class Call(Protocol):
    """A call, as the envelope of its item sees it."""

    def give_up(self, error: Exception) -> None:
        """End the call with this error if it runs. If the item's call or next attempt waits, let it begin now.

        Use this if the envelope's ``open`` raises for that item. Then no call is made.
        """
        ...

    def time(self, ended: str) -> CallTime | None:
        """Returns when the call was made, and that it has just ended as ``ended``; None if it was not made."""
        ...

    def waited_downstream(self) -> float:
        """Seconds that a call that has just ended waited for room for its values; 0 without ``expand``."""
        ...

    def take_notes(self) -> Sequence[object]:
        """Returns the values that the function has attached to the call since the last time."""
        ...


class Decision(Exception):
    """A function returns or raises this instead of a value, to decide how its item goes on. No other call follows."""

    is_final = True


Admission = Literal["call", "pass", "keep"]
"""``call``: the item waits for its call. ``pass``: it passes without a call. ``keep``: it leaves the stage here."""


class Kept(enum.Enum):
    """Stands for an item that does not go on from here."""

    KEPT = enum.auto()


KEPT: Final = Kept.KEPT


class Envelope(Protocol):
    """How a stage handles items that carry more than the function's argument."""

    @property
    def may_begin(self) -> Callable[[Callable[[], None]], bool] | None:
        """A function that says before each call if the call may begin.

        If not, it calls its argument when you may ask again.
        """
        ...

    def attach(self, readmit: Callable[[Any], None]) -> None:
        """Called when the stage is subscribed to. ``readmit`` takes an item in beyond the bound, from any thread."""
        ...

    def admit(self, item: Any, call: Call) -> Admission:
        """Decide how the stage handles an arriving item. If this raises, the item fails with that error."""
        ...

    def open(self, item: Any, call: Call) -> Any:
        """Returns the function's argument. If this raises, the call fails with that error."""
        ...

    def close(self, item: Any, result: Any) -> Any:
        """Returns the item with its result, or ``KEPT``."""
        ...

    def decide(self, item: Any, decision: Decision) -> Any:
        """Returns the item after the function's decision, or ``KEPT``."""
        ...

    def begin_many(self, item: Any, values: Any) -> None:
        """The function has returned an iterator or another source of many values."""
        ...

    def spawn(self, item: Any, value: Any) -> Any:
        """Returns the item for one of many values, or ``KEPT``."""
        ...

    def may_pass(self, item: Any, wake: Callable[[], None]) -> bool:
        """Returns True if one of many items may go on now. If not, ``wake`` is called when you may try again."""
        ...

    def expanded(self, item: Any) -> Any:
        """The function has given its last value. Returns the item itself as it goes on, or ``KEPT``."""
        ...

    def again(self, item: Any, attempt: int, error: BaseException) -> None:
        """Attempt ``attempt`` failed; another attempt follows."""
        ...

    def used(self, item: Any, attempt: int, usage: Usage) -> None:
        """Attempt ``attempt`` has ended, with this usage."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(Generic[A, B]):
    """The options of ``ops.stage`` after checks, without ``scheduler`` and ``timer``. ``math.inf`` stands for no bound.

    ``adaptive`` is set if ``concurrency`` is an ``AdaptiveConcurrency``. ``envelope`` and ``stats`` serve pipelines.
    """

    fn: Function
    name: str
    concurrency: float
    queue_size: float
    timeout: float | None
    retry: Retry | None
    rate_limit: Limiter | None
    ordered: bool
    recover: Callable[[Failure[A]], B] | None
    max_abandoned: float
    expand: bool = False
    key: Callable[[A], Hashable] | None = None
    adaptive: AdaptiveConcurrency | None = None
    envelope: Envelope | None = None
    stats: StageStats = field(default_factory=StageStats)
    batch: Batch | None = None

    def holds(self, slots: float) -> float:
        """Returns the number of items that the stage holds with this number of slots."""
        return slots * (1 if self.batch is None else self.batch.max_items) + self.queue_size


def settings_of(
    fn: Callable[[Any], Any],
    *,
    name: str | None = None,
    concurrency: int | AdaptiveConcurrency | None = 1,
    queue_size: int | None = 10,
    timeout: float | None = None,
    retry: Retry | None = None,
    rate_limit: Limiter | None = None,
    ordered: bool = False,
    recover: Callable[[Failure[Any]], Any] | None = None,
    max_abandoned: int | None = None,
    expand: bool = False,
    key: Callable[[Any], Hashable] | None = None,
    batch: Batch | None = None,
    envelope: Envelope | None = None,
) -> Settings[Any, Any]:
    """Check the options of a stage; see ``stage``.

    Raises:
        ValueError: A number is out of range.
    """
    adaptive = concurrency if isinstance(concurrency, AdaptiveConcurrency) else None
    most = concurrency.most if isinstance(concurrency, AdaptiveConcurrency) else concurrency
    counts = {"concurrency": most, "queue_size": queue_size, "max_abandoned": max_abandoned}
    for option, count in counts.items():
        least = 1 if option == "concurrency" else 0
        if count is not None and not (count >= least and count % 1 == 0):
            raise ValueError(f"{option} must be a whole number of at least {least}, not {count}")
    if batch is not None and expand:
        raise ValueError("a stage has batch or expand, not both")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be above 0, not {timeout}")
    slots = math.inf if most is None else most
    known_as: str = name or getattr(fn, "__name__", None) or type(fn).__name__
    return Settings(
        fn=fn,
        name=known_as,
        concurrency=slots,
        queue_size=math.inf if queue_size is None else queue_size,
        timeout=timeout,
        retry=retry,
        rate_limit=rate_limit,
        ordered=ordered,
        recover=recover,
        max_abandoned=slots if max_abandoned is None else max_abandoned,
        expand=expand,
        key=key,
        batch=batch,
        adaptive=adaptive,
        envelope=envelope,
        stats=StageStats(name=known_as, concurrency=slots),
    )
