"""``Retry``: whether and when to try again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ..core.clock import FOREVER

Kind = type[BaseException] | str
RetryOn = Kind | tuple[Kind, ...] | Callable[[BaseException], bool]


def kind_of(error: BaseException) -> str:
    """What kind of error it is: what it says itself as ``kind``; else ``transient`` or ``error``.

    Timeouts and broken connections are transient.
    """
    kind = getattr(error, "kind", None)
    if isinstance(kind, str):
        return kind
    return "transient" if isinstance(error, (TimeoutError, ConnectionError)) else "error"


def uses_attempt(error: BaseException) -> bool:
    """Whether a call that fails with this was an attempt: not if the server has only said that it is busy."""
    return getattr(error, "uses_attempt", True) is not False


def asked_delay(error: BaseException) -> float | None:
    """Seconds to wait, as the error says by ``retry_after``; ``None`` if that is no time that could be waited for."""
    asked = getattr(error, "retry_after", None)
    return float(asked) if isinstance(asked, (int, float)) and 0 <= asked < FOREVER else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How often to call again, and how long to wait before: exponential backoff with jitter.

    Errors may say how they want to be taken, by attributes:

    - ``retry_after``, seconds: how long to wait before the next call
    - ``kind``, text: what ``retry_on`` may name
    - ``uses_attempt``, if false: the call does not count; it is made again as long as it takes, as after a 429,
      whichever types and kinds ``retry_on`` names
    - ``is_permanent``, if true: it is not worth another call, unless ``retry_on`` names its kind
    - ``is_final``, if true: there is no other call, whatever ``retry_on`` says

    Attributes:
        max_attempts: Calls in all, the first included; at least 1.
        backoff_factor: What each delay is multiplied by to give the next; at least 1.
        initial: The first delay, in seconds.
        max_delay: The longest delay, in seconds.
        jitter: How far a delay is moved at random, as a share of it, 0 to 1.
        retry_on: Which errors are worth another call: types, kinds (see ``kind_of``), or a function that says so.

    Raises:
        ValueError: A number is out of range.
        TypeError: ``retry_on`` is neither types, nor kinds, nor a function.
    """

    max_attempts: int = 3
    backoff_factor: float = 2.0
    initial: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.5
    retry_on: RetryOn = Exception

    def __post_init__(self) -> None:
        if not self.max_attempts >= 1:
            raise ValueError(f"max_attempts must be at least 1, not {self.max_attempts}")
        if not self.backoff_factor >= 1:
            raise ValueError(f"backoff_factor must be at least 1, not {self.backoff_factor}")
        if not 0 <= self.initial <= self.max_delay:
            raise ValueError(f"need 0 <= initial <= max_delay, not {self.initial} and {self.max_delay}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must be between 0 and 1, not {self.jitter}")
        if not callable(self.retry_on):
            types, kinds = _told_apart(self.retry_on)
            isinstance(Exception(), types)  # raises, if it cannot be asked
            if odd := [kind for kind in kinds if not (kind.isidentifier() and kind.islower())]:
                raise TypeError(f"a kind of error is a word in lower case, like transient, not {odd[0]!r}")

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Whether to call again after call number ``attempt`` (from 1) raised ``error``."""
        if (attempt >= self.max_attempts and uses_attempt(error)) or getattr(error, "is_final", False):
            return False
        retry_on = self.retry_on
        if callable(retry_on) and not isinstance(retry_on, type):
            return bool(retry_on(error))
        types, kinds = _told_apart(retry_on)
        if kind_of(error) in kinds:
            return True
        if getattr(error, "is_permanent", False):
            return False
        return isinstance(error, types) or not uses_attempt(error)

    def delay(self, attempt: int, error: BaseException) -> float:
        """Seconds to wait after call number ``attempt`` (from 1) raised ``error``.

        ``initial * backoff_factor ** (attempt - 1)``, moved by up to ``jitter`` of itself either way, then clamped
        to ``initial`` and ``max_delay``. An error that carries a number as ``retry_after`` decides for itself.

        If the error uses no attempt, ``attempt`` counts such errors instead. Then the delay is never 0, as calls would
        repeat without pause for ever. If neither the error nor the policy gives one above 0, the default policy's
        delay is used.
        """
        asked = asked_delay(error)
        if uses_attempt(error):
            return self._backoff(attempt) if asked is None else asked
        return asked or self._backoff(attempt) or NO_RETRY._backoff(attempt)

    def _backoff(self, attempt: int) -> float:
        try:
            delay = self.initial and self.initial * float(self.backoff_factor) ** (attempt - 1)
        except OverflowError:
            delay = self.max_delay
        delay *= self._spread()
        return min(max(delay, self.initial), self.max_delay)

    def _spread(self) -> float:
        return random.uniform(1 - self.jitter, 1 + self.jitter)


NO_RETRY = Retry(max_attempts=1)


def _told_apart(given: Kind | tuple[Kind, ...]) -> tuple[tuple[type[BaseException], ...], tuple[str, ...]]:
    """The types in it, and the kinds."""
    several = given if isinstance(given, tuple) else (given,)
    kinds = tuple(one for one in several if isinstance(one, str))
    return tuple(one for one in several if not isinstance(one, str)), kinds
