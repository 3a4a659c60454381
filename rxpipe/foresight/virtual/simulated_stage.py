"""The executor of simulated calls: a call takes its drawn seconds, and no function is called."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxpipe.foresight.calls.chance import number_of, share_of
from rxpipe.foresight.calls.draws import CallDraws
from rxpipe.foresight.calls.record import NOTHING, Draw
from rxpipe.foresight.virtual.paced import paced
from rxpipe.foresight.virtual.server import Server
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.operators.core.worker import Call, Function
from rxpipe.operators.errors import StageTimeout
from rxpipe.operators.stages.batch_call import BatchCall
from rxpipe.operators.stages.call import StageCall
from rxpipe.operators.stages.limiter import SpendingLimiter
from rxpipe.operators.stages.retry_policy import Retry, uses_attempt
from rxpipe.pipeline.decisions import Drop, SendBack
from rxpipe.pipeline.run.item import Item

_MILLI = 1_000  # parts of a second in which servers state the wait
_NOT_EXACTLY = 1e-9  # seconds: calls without any duration would never let time pass


class SimulatedFailure(Exception):
    """A call that fails in a simulation, like one in the record."""

    def __init__(self, text: str = "failed as in the record", *, is_final: bool = False) -> None:
        super().__init__(text)
        self.is_final = is_final


class SimulatedRefusal(SimulatedFailure):
    """A call that the server refuses for now.

    Attributes:
        retry_after: The seconds that the server asks to wait; None if it does not say.
    """

    uses_attempt = False
    kind = "rate_limited"

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__()
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRetry(Retry):
    """A retry policy whose jitter follows from a seed. It calls no function of the user.

    Attributes:
        numbers: The random numbers for the jitter.
        takes_timeouts: True if a call that has timed out is made again.
    """

    numbers: Random = field(default_factory=Random)
    takes_timeouts: bool = True

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Returns True if another attempt follows."""
        if getattr(error, "is_final", False) or (isinstance(error, StageTimeout) and not self.takes_timeouts):
            return False
        return attempt < self.max_attempts or not uses_attempt(error)

    def _spread(self) -> float:
        return self.numbers.uniform(1 - self.jitter, 1 + self.jitter)


class SimulatedStage:
    """A stage's executor in virtual time. It is an ``Engine``, and its own runner."""

    queues = False
    width = math.inf

    def __init__(
        self,
        time: VirtualTime,
        server: Server,
        draws: CallDraws,
        *,
        seed: int,
        cancels: bool,
        expands: bool,
        generates: bool = False,
        limiter: SpendingLimiter | None = None,
    ) -> None:
        """Creates the executor of a stage.

        Args:
            time: The virtual time.
            server: The server that runs the calls.
            draws: Draws the outcomes of calls.
            seed: The seed of the simulation and the stage.
            cancels: True if a call that has timed out ends soon, as a coroutine does.
            expands: True if calls return many values.
            generates: True if calls return their values one by one, as a generator does.
            limiter: Receives what calls have used.
        """
        self.cancels = cancels
        self._time = time
        self._server = server
        self._draws = draws
        self._seed = seed
        self._expands = expands
        self._generates = generates
        self._limiter = limiter

    def runner(self) -> SimulatedStage:
        """Returns the executor itself."""
        return self

    def close(self) -> None:
        """Does nothing, as there is nothing to free."""

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Starts a simulated call. ``fn`` is not called."""
        assert isinstance(call, StageCall)
        running = _RunningCall(self._time, self._limiter, call)
        if isinstance(call, BatchCall):
            draw, running.result = self._of_batch(call)
        else:
            item: Item = call.item
            draw, running.result = self._of_item(item, call)
        if self._generates and draw.ended == "ok":
            values, seconds = running.result, draw.seconds
            running.result, draw = paced(values, seconds, self._server), draw._replace(seconds=0.0)
        running.draw = draw
        running.work = self._server.start(max(draw.seconds, _NOT_EXACTLY), running.end)
        return running if self.cancels else Disposable()

    def _of_item(self, item: Item, call: StageCall) -> tuple[Draw, Any]:
        text, number = str(item.id), number_of(item.id)
        rounds, seed = item.rounds, self._seed
        draw = self._draws.draw(text, number, call.attempt, rounds, seed)
        share, seconds = self._draws.refused
        if (bucket := self._server.bucket) is not None:
            if (wait := bucket.enter(draw.usage.tokens)) > 0:
                return Draw(seconds, "pushed_back"), SimulatedRefusal(math.ceil(wait * _MILLI) / _MILLI)
        elif share and share_of(seed, number, call.attempt, rounds, call.pushed_back, -2) < share:
            return Draw(seconds, "pushed_back"), SimulatedRefusal()
        if draw.ended != "ok":
            return draw, self._failure(draw.ended, number, rounds)
        if self._expands:
            return draw, _ChildIds(item, self._draws.children_of(text, number, rounds, seed))
        return draw, item.id

    def _failure(self, ended: str, number: int, rounds: int) -> BaseException:
        if ended == "dropped":
            return Drop("as in the record")
        if ended == "pushed_back":
            return SimulatedRefusal()
        if ended == "sent_back" and (targets := self._draws.targets):
            return SendBack(targets[int(share_of(self._seed, number, rounds, -3) * len(targets))])
        return SimulatedFailure(is_final=ended == "failed")

    def _of_batch(self, call: BatchCall) -> tuple[Draw, Any]:
        """Returns the outcome of a call for many items. Each item after the first adds a share of the seconds."""
        drawn = [self._of_item(member.item, member) for member in call.expected]
        seconds = drawn[0][0].seconds * (1 + self._draws.per_item * (len(drawn) - 1))
        usage = sum((draw.usage for draw, _ in drawn), NOTHING)
        whole = next((result for draw, result in drawn if draw.ended in _OF_ALL), None)
        if whole is not None:
            return Draw(seconds, "failed", usage), whole
        return Draw(seconds, "ok", usage), [result for _, result in drawn]


class _ChildIds(Collection[str]):
    """The values that a call returns: the IDs of the children, as the ``when`` of later stages needs the ID."""

    def __init__(self, parent: Item, count: int) -> None:
        self._parent = parent
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        return map(self._parent.child_id, range(self._count))

    def __contains__(self, one: object) -> bool:
        return False


_OF_ALL = ("failed", "retried", "pushed_back")  # the ends of a call that hold for all of its items


class _RunningCall(DisposableBase):
    """A running call with the outcome that was drawn for it."""

    __slots__ = ("_call", "_limiter", "_taken", "_time", "draw", "result", "work")

    def __init__(self, time: VirtualTime, limiter: SpendingLimiter | None, call: StageCall) -> None:
        self._time = time
        self._limiter = limiter
        self._call = call
        self._taken = 0.0 if limiter is None else limiter.begin(call)
        self.draw = Draw(0.0)
        self.result: Any = None
        self.work: DisposableBase | None = None

    def end(self) -> None:
        """Ends the call with its drawn outcome."""
        call, draw = self._call, self.draw
        if draw.usage is not NOTHING:
            call.record(draw.usage)
        if self._limiter is not None:
            if draw.ended == "pushed_back":
                self._limiter.refused(self._taken, getattr(self.result, "retry_after", None) or 0.0)
            elif draw.usage.tokens:
                self._limiter.answered(self._taken, draw.usage.tokens)
            else:
                self._limiter.failed(self._taken)
        call.done(not isinstance(self.result, BaseException), self.result)

    def dispose(self) -> None:
        """Cancels the call: it ends at once."""
        if self.work is None:
            return
        self.work.dispose()
        self.work = None
        if self._limiter is not None:
            self._limiter.failed(self._taken)
        self._time.at(self._time.seconds, self._cancelled)

    def _cancelled(self) -> None:
        self._call.done(False, asyncio.CancelledError())
