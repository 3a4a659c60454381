"""What a stage is told, and what it tells: its settings, its counts, a failed item."""

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
        error: What the last attempt raised.
        stage: The stage's name.
        attempts: How often the function was called, apart from calls that were pushed back.
    """

    value: A
    error: BaseException
    stage: str
    attempts: int


@dataclass(slots=True)
class StageStats:
    """What a stage has done so far; it counts on while the stage runs.

    Attributes:
        name: The stage's name.
        concurrency: How many calls may run at once; now, where that adapts itself.
        taken: Items that came in, to be called with.
        started: Calls, retries included.
        done: Items whose function returned.
        failed: Items whose last attempt failed.
        retried: Failed calls that another one follows.
        pushed_back: Calls that the server refused for now, as a 429 does, and that are made again.
        refusal: What the server said with the last of those; empty if there was none.
        cancelled: Calls that ran when the stage was disposed.
        ending: Of those, calls that end soon as they were cancelled, and have not ended yet.
        discarded: Items that waited then.
        dropped: Items that its function dropped.
        sent_back: Items that its function sent back to an earlier stage.
        cached: Items that got the result of an earlier call instead of one of their own.
        saved: Total of what those earlier calls had used.
        abandoned: Calls that timed out or were given up, and could not be stopped.
        busy: Total seconds spent in calls.
        usage: Total of what calls reported as used.
        spawned: Children that its function has given.
        times: Where its slots spend their time.
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
    _slot_seconds: float = 0.0  # up to the last time that the concurrency changed
    _changed_at: float | None = None

    def resize(self, concurrency: int, now: float) -> None:
        """So many calls may run at once from now on."""
        if self._changed_at is not None:
            self._slot_seconds += self.concurrency * (now - self._changed_at)
        self.concurrency, self._changed_at = concurrency, now

    def slot_seconds(self, began: float, now: float) -> float:
        """How long calls could have run from one time to another, added up, with as many at once as there might be."""
        since = began if self._changed_at is None else self._changed_at
        return self._slot_seconds + self.concurrency * max(0.0, now - since)

    @property
    def ended(self) -> int:
        """Calls that ended of themselves or timed out."""
        return self.finished + self.retried + self.pushed_back

    @property
    def finished(self) -> int:
        """Items that it has called with for the last time."""
        return self.done + self.failed + self.dropped + self.sent_back

    @property
    def running(self) -> int:
        """Calls that run now, abandoned ones apart."""
        return self.started - self.ended - self.cancelled

    @property
    def waiting(self) -> int:
        """Items that wait for a slot or for their next attempt."""
        return self.taken - self.finished - self.cancelled - self.discarded - self.running


class Call(Protocol):
    """A call that is about to be made, or was."""

    def give_up(self, error: Exception) -> None:
        """End it with this error if it runs; if it waits, or another attempt of its item, have that begin now.

        To be called when the envelope's ``open`` raises for that item, so that no call is made of it.
        """
        ...

    def time(self, ended: str) -> CallTime | None:
        """When it was made, and how it has ended just now; None if it was not made."""
        ...

    def waited_downstream(self) -> float:
        """Seconds in which it waited for room for its values, asked just when it has ended; 0 unless it gave many."""
        ...

    def take_notes(self) -> Sequence[object]:
        """What its function has left with it since this was last asked."""
        ...


class Decision(Exception):
    """What a function returns or raises instead of a value: what is to become of its item. No other call follows."""

    is_final = True


Admission = Literal["call", "pass", "keep"]
"""The item waits for its call; passes without one; or leaves the stage, as the envelope has it."""


class Kept(enum.Enum):
    """In place of an item, where none goes on from here."""

    KEPT = enum.auto()


KEPT: Final = Kept.KEPT


class Envelope(Protocol):
    """How a stage handles items that carry more than the value its function takes."""

    @property
    def may_begin(self) -> Callable[[Callable[[], None]], bool] | None:
        """Asked before each call whether it may begin. If not, the callback is called when it may ask again."""
        ...

    def attach(self, readmit: Callable[[Any], None]) -> None:
        """Called when the stage is subscribed to; ``readmit`` takes an item beyond the bound, from any thread."""
        ...

    def admit(self, item: Any, call: Call) -> Admission:
        """What the stage does with an item that has come in; what it raises is how the item fails."""
        ...

    def open(self, item: Any, call: Call) -> Any:
        """The function's argument; what it raises is how the call fails."""
        ...

    def close(self, item: Any, result: Any) -> Any:
        """The item as it goes on, or ``KEPT``."""
        ...

    def decide(self, item: Any, decision: Decision) -> Any:
        """The item as it goes on, or ``KEPT``: the function has returned a decision."""
        ...

    def begin_many(self, item: Any, values: Any) -> None:
        """The function has returned what gives many values."""
        ...

    def spawn(self, item: Any, value: Any) -> Any:
        """The item for one of many values that the function gave, or ``KEPT``."""
        ...

    def may_pass(self, item: Any, wake: Callable[[], None]) -> bool:
        """Whether one of many may go downstream now; if not, ``wake`` is called when it may be asked again."""
        ...

    def expanded(self, item: Any) -> Any:
        """The function has given its last value; what goes on of the item itself, or ``KEPT``."""
        ...

    def again(self, item: Any, attempt: int, error: BaseException) -> None:
        """Attempt ``attempt`` failed; another attempt follows."""
        ...

    def used(self, item: Any, attempt: int, usage: Usage) -> None:
        """Attempt ``attempt`` has ended, and has used this."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings(Generic[A, B]):
    """The options of ``ops.stage``, checked, without ``scheduler`` and ``timer``; ``math.inf`` for no bound.

    ``adaptive`` is set if ``concurrency`` adapts itself. ``envelope`` and ``stats`` are for pipelines.
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
        """How many items the stage holds, with so many slots."""
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
