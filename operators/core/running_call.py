"""The call that is running, for the function that it calls: how long it has, what it used, what follows a failure."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What calls used of what is paid for; usages can be added up.

    Attributes:
        prompt_tokens: Tokens that were sent to a language model.
        completion_tokens: Tokens that it returned.
        cost: What that cost, in whatever currency the prices are in.

    Raises:
        ValueError: A count is no whole number of 0 or more, or the cost is not finite, or below 0.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def __post_init__(self) -> None:
        counts: tuple[Any, ...] = (self.prompt_tokens, self.completion_tokens)
        if not all(isinstance(count, int) and count >= 0 for count in counts) or not 0 <= self.cost < float("inf"):
            raise ValueError(f"tokens must be whole numbers and cost a number, 0 or more, not {counts} and {self.cost}")

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost=self.cost + other.cost,
        )

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return self.prompt_tokens + self.completion_tokens


class RunningCall(Protocol):
    """A stage's call, as its function sees it."""

    def remaining(self) -> float | None:
        """Seconds left, maybe below 0; ``None`` for no limit."""
        ...

    def record(self, usage: Usage) -> None:
        """Add to what it used."""
        ...

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt follows if it fails with this."""
        ...

    def note(self, value: object) -> None:
        """Leave something with it, for whoever is told of its end."""
        ...

    def hold(self) -> None:
        """Stop the call's timeout; ``begin`` starts it anew."""
        ...

    def begin(self) -> bool:
        """It begins, or begins anew."""
        ...


running_call: ContextVar[RunningCall | None] = ContextVar("rxpipe_running_call", default=None)


@contextmanager
def time_held() -> Generator[None]:
    """Stop the timeout of the running call inside this block; afterwards it starts anew.

    For waiting that no single call should pay for: for a client, say, that is opened once for all calls. The timeout
    does not end this wait, so it must end by itself.
    """
    call = running_call.get()
    if call is not None:
        call.hold()
    try:
        yield
    finally:
        if call is not None:
            call.begin()


def deadline() -> float | None:
    """Seconds left to the call that is running, so that a client library can limit itself.

    ::

        def answer(question):
            return requests.post(url, json=question, timeout=rxpipe.deadline())

    Returns:
        Seconds, never negative; ``None`` outside of a call, where the stage has no timeout, or in a process of an
        executor that is not one of ``rxpipe.executors``.
    """
    call = running_call.get()
    left = None if call is None else call.remaining()
    return None if left is None else max(0.0, left)


def record_usage(usage: Usage) -> None:
    """Count what the call that is running has used: in its stage's figures, and in the run store.

    May be called several times in a call; they are added up. It counts whether the call succeeds, fails, times out or
    is cancelled. Threads and tasks that the function starts may call it until the function has returned, if they run
    in a copy of its context, as tasks and ``asyncio.to_thread`` do. In a process of ``rxpipe.executors`` it counts when
    the call returns. Does nothing outside of a call, or in another process.
    """
    if (call := running_call.get()) is not None:
        call.record(usage)


def note_in_call(value: object) -> None:
    """Leave something with the call that is running, for whoever is told of its end; nothing outside of a call."""
    if (call := running_call.get()) is not None:
        call.note(value)


def will_retry(error: BaseException) -> bool:
    """Whether the stage makes another attempt if the call that is running raises this error.

    ::

        except InvalidOutput as error:
            if rxpipe.will_retry(error):
                raise
            return ungraded

    Returns:
        False outside of a call, and in another process.
    """
    call = running_call.get()
    return call is not None and call.retries(error)
