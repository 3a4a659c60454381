"""The running call, as its function sees it: the time left, the usage, the effect of a failure."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The tokens and the cost that calls used. You can add usages.

    Attributes:
        prompt_tokens: Tokens sent to a language model.
        completion_tokens: Tokens that the model returned.
        cost: The cost, in the currency of your prices.

    Raises:
        ValueError: A count is no whole number of 0 or more; or the cost is not finite, or below 0.
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
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


class RunningCall(Protocol):
    """A stage's call, as its function sees it."""

    def remaining(self) -> float | None:
        """Returns the seconds left, maybe below 0; ``None`` for no limit."""
        ...

    def record(self, usage: Usage) -> None:
        """Add to the usage of the call."""
        ...

    def retries(self, error: BaseException) -> bool:
        """Returns True if another attempt follows when the call fails with this error."""
        ...

    def note(self, value: object) -> None:
        """Attach a value to the call, for the listeners of its end."""
        ...

    def hold(self) -> None:
        """Stop the call's timeout; ``begin`` starts it again."""
        ...

    def begin(self) -> bool:
        """Start the call's timeout, or start it again."""
        ...


running_call: ContextVar[RunningCall | None] = ContextVar("rxpipe_running_call", default=None)


@contextmanager
def time_held() -> Generator[None]:
    """Stop the timeout of the running call inside this block. Afterwards the full timeout starts again.

    Use this to wait for something that no single call should pay for, such as a client that is opened once for all
    calls. The timeout does not end this wait, so the wait must end by itself.
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
    """Returns the seconds left for the running call. Pass them to a client library as its time limit.

    ::

        def answer(question):
            return requests.post(url, json=question, timeout=rxpipe.deadline())

    Returns:
        Seconds, 0 or more. ``None`` outside a call, without a ``timeout`` of the stage, and in a process of an executor
        that is not one of ``rxpipe.executors``.
    """
    call = running_call.get()
    left = None if call is None else call.remaining()
    return None if left is None else max(0.0, left)


def record_usage(usage: Usage) -> None:
    """Record the usage of the running call, for the stage's numbers and for the run store.

    - You can call this several times in a call; the usages are added.
    - The usage counts if the call succeeds, fails, times out or is cancelled.
    - Threads and tasks that the function starts may call this until the function has returned. They must run in a copy
      of the function's context, as tasks and ``asyncio.to_thread`` do.
    - In a process of ``rxpipe.executors``, the usage counts when the call returns.
    - Outside a call, and in any other process, this does nothing.
    """
    if (call := running_call.get()) is not None:
        call.record(usage)


def note_in_call(value: object) -> None:
    """Attach a value to the running call, for the listeners of its end. Does nothing outside a call."""
    if (call := running_call.get()) is not None:
        call.note(value)


def will_retry(error: BaseException) -> bool:
    """Returns True if the stage makes another attempt when the running call raises this error.

    ::

        except InvalidOutput as error:
            if rxpipe.will_retry(error):
                raise
            return ungraded

    Returns:
        False outside a call, and in another process.
    """
    call = running_call.get()
    return call is not None and call.retries(error)
