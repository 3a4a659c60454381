"""How the slots of a stage spend their time, and how long calls and waits took."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from .durations import Durations

_MANY = 2_000  # calls per second; beyond, one in 32 is timed, which is enough for any quantile
_SPARSE = 31  # a call is timed if its number has none of these bits
_LOOK = 128  # timed calls between two checks of the rate


class CallTime(NamedTuple):
    """When a call was made, how long it took, and how it ended.

    Attributes:
        attempt: The attempt's number, from 1.
        began: When the call began, in seconds of the run's clock.
        waited: Seconds that the item had waited in the queue.
        seconds: Seconds that the call took, without waiting for room downstream for its values.
        in_flight: Calls of the stage that ran when the call began, including this one.
        ended: ``ok``, ``failed``, ``retried``, ``pushed_back``, ``dropped``, ``sent_back`` or ``cancelled``.
    """

    attempt: int
    began: float
    waited: float
    seconds: float
    in_flight: int
    ended: str


class Attempt(NamedTuple):
    """A call that runs, or that waits for its delay.

    Attributes:
        seconds: Seconds that the call has been running; or seconds until its delay is over.
        number: The attempt's number for its item, from 1.
    """

    seconds: float
    number: int


class Standing(NamedTuple):
    """The calls of a stage at one moment.

    Attributes:
        running: The calls that run.
        delayed: The calls that wait for their delay.
    """

    running: list[Attempt]
    delayed: list[Attempt]


class TimedCall(Protocol):
    """The times of a call that runs, or that waits for its delay."""

    @property
    def attempt(self) -> int:
        """The attempt's number."""
        ...

    @property
    def due_at(self) -> float:
        """When its delay is over."""
        ...

    @property
    def began(self) -> float:
        """When it began."""
        ...

    @property
    def blocked_at(self) -> float | None:
        """Since when a result of the call has waited for room downstream; None if no result waits."""
        ...


class EndedCall(Protocol):
    """The times of a call that has ended; see ``StageCall``."""

    began: float
    first_began: float | None
    queued_at: float | None
    seconds: float
    weight: int


class Level:
    """A changing number, and its integral over time. Written by one thread at a time, read by any."""

    __slots__ = ("_state", "now")

    def __init__(self) -> None:
        self.now = 0
        self._state = (0.0, 0, 0.0)  # one value: the integral up to a time, the level since then, that time

    def set(self, level: int, at: float) -> None:
        """Set the number from now on."""
        total, before, since = self._state
        self.now = level
        self._state = (total + before * (at - since), level, at)

    def total(self, at: float) -> float:
        """Returns the integral up to now."""
        total, level, since = self._state
        return total + level * max(0.0, at - since)


class StageTimes:
    """How the slots of a stage spend their time.

    At each moment a slot is in one of these states:

    - busy: a call runs
    - blocked: a result waits for room downstream
    - limited: a waiting item waits for the rate limit
    - held: a waiting item waits for the database
    - idle

    Attributes:
        seconds: How long calls took. If there are very many calls, one in 32 is timed.
        waits: How long items waited in the queue before their calls.
        blocked: Number of slots with a result that waits for room downstream. If there are very many calls, estimated
            from those that are timed.
        limited: Number of slots that wait for the rate limit and have an item.
        held: Number of slots that wait for the database and have an item.
        last_end: When the last timed call ended; None if none has.
        is_exact: True to time each call, however many there are.
        mask: A call is timed if its number has none of these bits.
        running: Returns the calls that run now.
        delayed: Returns the next attempts that wait for their delay.
    """

    __slots__ = (
        *(
            "_looked_at",
            "_timed",
            "blocked",
            "held",
            "delayed",
            "is_exact",
            "_is_thinned",
            "last_end",
            "limited",
            "mask",
            "running",
            "seconds",
            "waits",
        ),
    )

    def __init__(self) -> None:
        self.seconds = Durations()
        self.waits = Durations()
        self.blocked, self.limited, self.held = Level(), Level(), Level()
        self.last_end: float | None = None
        self.is_exact = False
        self.running: Callable[[], Collection[TimedCall]] = tuple
        self.delayed: Callable[[], Collection[TimedCall]] = tuple
        self.mask = 0
        self._is_thinned = False
        self._timed = 0
        self._looked_at: float | None = None

    def thin(self) -> None:
        """Time one call in 32 from now on, whatever the rate."""
        self._is_thinned, self.mask = True, _SPARSE

    def ended(self, call: EndedCall, now: float) -> None:
        """Record the end of a timed call."""
        began = call.began if call.first_began is None else call.first_began
        self.seconds.add(call.seconds, call.weight)
        self.waits.add(0.0 if call.queued_at is None else began - call.queued_at, call.weight)
        self.last_end = now
        self._timed += 1
        if self._timed == _LOOK:
            self._timed = 0
            if self._looked_at is not None:
                rate = _LOOK * call.weight / max(now - self._looked_at, 1e-9)
                self.mask = _SPARSE if rate > _MANY or self._is_thinned else 0
            self._looked_at = now

    def busy(self, ended: float, now: float) -> float:
        """Returns the slot seconds in which calls ran.

        Args:
            ended: Slot seconds of calls that have ended.
            now: The clock's time, in seconds.
        """
        return ended + sum(max(0.0, now - call.began) for call in self.running() if call.blocked_at is None)

    def standing(self, now: float) -> Standing:
        """Returns the calls that run or wait for their delay. From any thread."""
        return Standing(
            [Attempt(max(0.0, now - call.began), call.attempt) for call in self.running() if call.blocked_at is None],
            [Attempt(max(0.0, call.due_at - now), call.attempt) for call in self.delayed()],
        )

    def oldest(self, now: float) -> float | None:
        """Returns the seconds that the oldest running call has been running; None if no call runs."""
        began = min((call.began for call in self.running() if call.blocked_at is None), default=None)
        return None if began is None else max(0.0, now - began)
