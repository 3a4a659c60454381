"""Concurrency that finds its own bound: as many calls at once as the server takes, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PATTERN = "^(auto|[0-9]+-[0-9]+-[0-9]+)$"
"""What ``AdaptiveConcurrency.parse`` reads."""

_BACK = 0.8  # the bound is multiplied by this when the server pushes back
_STEP = 20  # each step adds a twentieth of the bound
_TOLERATED = 10  # up to a tenth of a round may be refused
_ROUND = 50  # refusals are judged over this many calls or more; in fewer, random refusals weigh too much


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveConcurrency:
    """How many calls may run at once, where that is found out by how the server answers.

    The bound doubles with each round of calls that succeed, until the server first pushes back (an error whose
    ``uses_attempt`` is false, as a 429 is). Then it is multiplied by 0.8, once per episode. Results of calls that
    began earlier belong to the same episode, and so do all within the cool-down, which lasts as long as the
    server asks. After that it grows again in small steps, by a twentieth per round, and only while all of it is in use.

    A later episode begins when more than a tenth of a round is refused, or of fifty calls if a round is less. A server
    that has too many calls soon refuses more than that; one that refuses a few at random is not called less for it.

    This is slow start, then additive increase and multiplicative decrease, as in TCP (RFC 5681), but with 0.8 as the
    factor of the decrease.

    Attributes:
        least: Never fewer calls at once.
        start: So many to begin with.
        most: Never more.
        cool_down: Seconds that an episode lasts at least.

    Raises:
        ValueError: Not ``1 <= least <= start <= most``, all whole, or ``cool_down`` is below 0.
    """

    least: int = 1
    start: int = 10
    most: int = 200
    cool_down: float = 1.0

    def __str__(self) -> str:
        return f"{self.least}-{self.start}-{self.most}"

    def __post_init__(self) -> None:
        bounds = (self.least, self.start, self.most)
        if not (1 <= self.least <= self.start <= self.most and all(bound % 1 == 0 for bound in bounds)):
            raise ValueError(f"need 1 <= least <= start <= most, whole numbers, not {', '.join(map(str, bounds))}")
        if not self.cool_down >= 0:
            raise ValueError(f"cool_down must be 0 or more, not {self.cool_down}")

    @classmethod
    def parse(cls, text: str) -> AdaptiveConcurrency:
        """``auto``, or least, start and most, as in ``5-20-100``.

        Raises:
            ValueError: It is neither.
        """
        if text == "auto":
            return cls()
        if not re.match(PATTERN, text):
            raise ValueError(f"{text!r} is neither auto nor least-start-most, like 5-20-100")
        least, start, most = map(int, text.split("-"))
        return cls(least=least, start=start, most=most)


class Adapting:
    """One stage's bound as it changes."""

    def __init__(self, settings: AdaptiveConcurrency, resize: Callable[[int], None]) -> None:
        """Start.

        Args:
            settings: Where to start, and how far to go.
            resize: Called with how many calls may run at once, now and whenever that changes.
        """
        self._settings = settings
        self._resize = resize
        self._doubles = True
        self._fell = -float("inf")
        self._cool_until = -float("inf")
        self._set(settings.start)

    def _set(self, limit: int) -> None:
        self._limit = limit
        self._successes = 0  # while all of it was in use, since it last changed
        self._ended = self._refused = 0  # lately
        self._resize(limit)

    def succeeded(self, now: float, began: float, running: int) -> None:
        """A call returned.

        Args:
            now: The clock's time, in seconds.
            began: When the call began.
            running: How many calls ran until then, this one included.
        """
        if now < self._cool_until or began <= self._fell:
            return
        self._count(refused=False)
        if running < self._limit:
            return
        self._successes += 1
        if self._successes >= self._limit < self._settings.most and self._refused * _TOLERATED <= self._ended:
            step = self._limit if self._doubles else max(1, self._limit // _STEP)
            self._set(min(self._settings.most, self._limit + step))

    def pushed_back(self, now: float, began: float, retry_after: float) -> None:
        """The server has refused a call, as there were too many.

        Args:
            now: The clock's time, in seconds.
            began: When the call began.
            retry_after: Seconds that the server asks to wait; 0 if it does not say.
        """
        if now < self._cool_until or began <= self._fell:
            return
        if self._count(refused=True) or self._doubles:
            self._doubles = False
            self._fell = now
            self._cool_until = now + max(self._settings.cool_down, retry_after)
            self._set(max(self._settings.least, int(self._limit * _BACK)))

    def _count(self, *, refused: bool) -> bool:
        """Count a call that has ended; whether too many were refused."""
        self._ended += 1
        self._refused += refused
        calls = max(self._limit, _ROUND)
        if self._refused * _TOLERATED > calls:
            return True
        if self._ended >= calls:
            self._ended = self._refused = 0
        return False
