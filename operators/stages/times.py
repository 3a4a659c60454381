"""Where the slots of a stage spend their time, and how long its calls and their waits took."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from .durations import Durations

_MANY = 2_000  # calls a second: beyond, one in 32 is timed, which is enough for any quantile
_SPARSE = 31  # of the counter's bits: none of these set
_LOOK = 128  # timed calls between two looks at how many there are


class CallTime(NamedTuple):
    """When a call was made, how long it took, and how it ended.

    Attributes:
        attempt: Its number, from 1.
        began: When it began, in seconds of the run's clock.
        waited: Seconds that its item had waited in the queue.
        seconds: How long it took, without the time in which its values waited for room downstream.
        in_flight: How many calls of the stage ran when it began, this one included.
        ended: ``ok``, ``failed``, ``retried``, ``pushed_back``, ``dropped``, ``sent_back`` or ``cancelled``.
    """

    attempt: int
    began: float
    waited: float
    seconds: float
    in_flight: int
    ended: str


class Attempt(NamedTuple):
    """A call that runs, or is to be made after a delay.

    Attributes:
        seconds: For how long it has been running, or until it is due.
        number: Its number for its item, from 1.
    """

    seconds: float
    number: int


class Standing(NamedTuple):
    """The calls of a stage at one moment.

    Attributes:
        running: Those that run.
        delayed: Those whose delay lasts.
    """

    running: list[Attempt]
    delayed: list[Attempt]


class TimedCall(Protocol):
    """What is asked of a running call, and of one that is not due."""

    @property
    def attempt(self) -> int:
        """Its number."""
        ...

    @property
    def due_at(self) -> float:
        """When it is due."""
        ...

    @property
    def began(self) -> float:
        """When it began."""
        ...

    @property
    def blocked_at(self) -> float | None:
        """Since when a result of it has waited for room downstream; None if none does."""
        ...


class EndedCall(Protocol):
    """What is asked of a call that has ended; see ``StageCall``."""

    began: float
    first_began: float | None
    queued_at: float | None
    seconds: float
    weight: int


class Level:
    """A number that changes, and its integral over time. Written by one thread at a time, read by any."""

    __slots__ = ("_state", "now")

    def __init__(self) -> None:
        self.now = 0
        self._state = (0.0, 0, 0.0)  # the integral up to a time, the level since then, that time: as one value

    def set(self, level: int, at: float) -> None:
        """The number is this from now on."""
        total, before, since = self._state
        self.now = level
        self._state = (total + before * (at - since), level, at)

    def total(self, at: float) -> float:
        """The integral up to now."""
        total, level, since = self._state
        return total + level * max(0.0, at - since)


class StageTimes:
    """Where a stage's slots spend their time.

    At each moment a slot is busy with a call, blocked by a result that waits for room downstream, limited by a rate
    limit that a waiting item waits for, held by whatever else has calls wait (the database), or idle.

    Attributes:
        seconds: How long calls took; where there are very many, of each 32nd.
        waits: How long their items had waited in the queue.
        blocked: How many slots hold a result that waits for room downstream; where there are very many calls, by those
            that are timed.
        limited: How many slots wait for a rate limit, with an item for each.
        held: How many slots wait for the database, with an item for each.
        last_end: When the last timed call ended; None if none has.
        is_exact: Whether the time of each call is wanted, however many there are.
        mask: Calls are counted here whose number has none of these bits.
        running: The calls that run now.
        delayed: Next attempts that are not due yet.
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
        """Time one call in 32 from now on, however few there are in a second."""
        self._is_thinned, self.mask = True, _SPARSE

    def ended(self, call: EndedCall, now: float) -> None:
        """A call has ended that is to be counted here."""
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
        """Slot seconds in which calls ran.

        Args:
            ended: Those of calls that have ended.
            now: The clock's time.
        """
        return ended + sum(max(0.0, now - call.began) for call in self.running() if call.blocked_at is None)

    def standing(self, now: float) -> Standing:
        """The calls that run or are delayed; from any thread."""
        return Standing(
            [Attempt(max(0.0, now - call.began), call.attempt) for call in self.running() if call.blocked_at is None],
            [Attempt(max(0.0, call.due_at - now), call.attempt) for call in self.delayed()],
        )

    def oldest(self, now: float) -> float | None:
        """For how long the oldest running call has been running, in seconds; None if none runs."""
        began = min((call.began for call in self.running() if call.blocked_at is None), default=None)
        return None if began is None else max(0.0, now - began)
