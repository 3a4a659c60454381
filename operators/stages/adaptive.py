"""Concurrency that adapts itself to the server: as many calls at once as the server takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

PATTERN = "^(auto|[0-9]+-[0-9]+-[0-9]+)$"
"""The texts that ``AdaptiveConcurrency.parse`` reads."""

_BACK = 0.8  # the bound is multiplied by this when the server pushes back
_STEP = 20  # each step adds a twentieth of the bound
_TOLERATED = 10  # up to a tenth of a round may be refused
_ROUND = 50  # refusals are judged over this many calls or more; in fewer, random refusals weigh too much


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveConcurrency:
    """A number of calls at once that adapts itself to the answers of the server.

    1. The bound doubles with each round of successful calls, until the server first pushes back. A push-back is an
       error whose ``uses_attempt`` is false, such as a 429.
    2. Then the bound is multiplied by 0.8, once per episode. Results of calls that began before the decrease belong to
       the same episode. So do all results within the cool-down, which lasts at least as long as the server asks.
    3. After that, the bound grows by a twentieth per round, and only while all of it is in use.
    4. A new episode begins when more than a tenth of a round is refused. A round counts as at least 50 calls here. A
       server with too many calls soon refuses more than that. A server that refuses a few calls at random does not
       lower the bound.

    This is slow start, then additive increase and multiplicative decrease, as in TCP (RFC 5681). Only the factor of the
    decrease differs: 0.8.

    Attributes:
        least: The lowest bound.
        start: The first bound.
        most: The highest bound.
        cool_down: The shortest cool-down of an episode, in seconds.

    Raises:
        ValueError: Not ``1 <= least <= start <= most``, or not all whole numbers, or ``cool_down`` is below 0.
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
        """Read ``auto``, or least, start and most, such as ``5-20-100``.

        Raises:
            ValueError: The text is neither.
        """
        if text == "auto":
            return cls()
        if not re.match(PATTERN, text):
            raise ValueError(f"{text!r} is neither auto nor least-start-most, like 5-20-100")
        least, start, most = map(int, text.split("-"))
        return cls(least=least, start=start, most=most)


class Adapting:
    """The changing bound of one stage."""

    def __init__(self, settings: AdaptiveConcurrency, resize: Callable[[int], None]) -> None:
        """Begin with the first bound.

        Args:
            settings: The first bound, and its limits.
            resize: Called with the bound, now and after each change.
        """
        self._settings = settings
        self._resize = resize
        self._doubles = True
        self._fell = -float("inf")
        self._cool_until = -float("inf")
        self._set(settings.start)

    def _set(self, limit: int) -> None:
        self._limit = limit
        self._successes = 0  # while all of the bound was in use, since its last change
        self._ended = self._refused = 0  # in the present round
        self._resize(limit)

    def succeeded(self, now: float, began: float, running: int) -> None:
        """A call returned.

        Args:
            now: The clock's time, in seconds.
            began: When the call began, in seconds.
            running: Calls that ran until then, including this one.
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
        """The server refused a call, since there were too many.

        Args:
            now: The clock's time, in seconds.
            began: When the call began, in seconds.
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
        """Count a call that has ended. Returns True if too many calls were refused."""
        self._ended += 1
        self._refused += refused
        calls = max(self._limit, _ROUND)
        if self._refused * _TOLERATED > calls:
            return True
        if self._ended >= calls:
            self._ended = self._refused = 0
        return False
