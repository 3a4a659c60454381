"""``Retry``: when to call again, and how often."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ..core.clock import FOREVER

Kind = type[BaseException] | str
RetryOn = Kind | tuple[Kind, ...] | Callable[[BaseException], bool]


def kind_of(error: BaseException) -> str:
    """Returns the kind of an error: its attribute ``kind`` if it has one; else ``transient`` or ``error``.

    Timeouts and broken connections are transient.
    """
    kind = getattr(error, "kind", None)
    if isinstance(kind, str):
        return kind
    return "transient" if isinstance(error, (TimeoutError, ConnectionError)) else "error"


def uses_attempt(error: BaseException) -> bool:
    """Returns True if a call that fails with this error counts as an attempt.

    False if the server only said that it is busy.
    """
    return getattr(error, "uses_attempt", True) is not False


def asked_delay(error: BaseException) -> float | None:
    """Returns the seconds to wait, from the error's ``retry_after``; ``None`` if that is missing or not usable."""
    asked = getattr(error, "retry_after", None)
    return float(asked) if isinstance(asked, (int, float)) and 0 <= asked < FOREVER else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How often to call again, and how long to wait before: exponential backoff with jitter.

    An error can say how to handle it, by attributes:

    - ``retry_after``, seconds: the delay before the next call
    - ``kind``, text: a kind that ``retry_on`` may name
    - ``uses_attempt``, if false: the call does not count as an attempt. It is made again without limit, as after a 429,
      whatever ``retry_on`` names.
    - ``is_permanent``, if true: no further call, unless ``retry_on`` names the error's kind
    - ``is_final``, if true: no further call, whatever ``retry_on`` says

    Attributes:
        max_attempts: The number of calls, including the first; at least 1.
        backoff_factor: The factor from each delay to the next; at least 1.
        initial: The first delay, in seconds.
        max_delay: The longest delay, in seconds.
        jitter: The share of a delay by which it is changed at random, 0 to 1.
        retry_on: The errors that lead to another call: types, kinds (see ``kind_of``), or a function that returns True
            for such an error.

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
            isinstance(Exception(), types)  # raises if one of them is no type
            if odd := [kind for kind in kinds if not (kind.isidentifier() and kind.islower())]:
                raise TypeError(f"a kind of error is a word in lower case, like transient, not {odd[0]!r}")

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Returns True if another call follows after call number ``attempt`` (from 1) raised ``error``."""
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
        """Returns the seconds to wait after call number ``attempt`` (from 1) raised ``error``.

        The delay is ``initial * backoff_factor ** (attempt - 1)``. It is changed by up to ``jitter`` of itself in both
        directions, then clamped to ``initial`` and ``max_delay``. An error with a number as ``retry_after`` decides the
        delay itself.

        If the error uses no attempt, ``attempt`` counts such errors instead. Then the delay is never 0, since calls
        would repeat without a pause for ever. If neither the error nor the policy gives a delay above 0, the default
        policy's delay is used.
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
    """Returns the types and the kinds in ``retry_on``."""
    several = given if isinstance(given, tuple) else (given,)
    kinds = tuple(one for one in several if isinstance(one, str))
    return tuple(one for one in several if not isinstance(one, str)), kinds
