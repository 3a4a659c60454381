"""Describes the calls of a live run's stages from its numbers, and draws from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from rxpipe.foresight.calls.chance import number_of, share_of
from rxpipe.foresight.calls.record import NOTHING, Draw
from rxpipe.foresight.live.live_seconds import LiveSeconds
from rxpipe.insight.snapshot import StageSnapshot
from rxpipe.operators.core.running_call import Usage
from rxpipe.pipeline.stage import Stage

_STRIDES = (633, 397, 241, 863, 727, 479, 157, 941)  # odd, so that all steps come in turn; all different
_GOLDEN = 0.6180339887498949
_CALLED = -4  # the purpose of a random number: whether the stage is called
_LASTS = -5  # the purpose of a random number: whether an item always fails
_ROUNDS, _HALVINGS = 4, 20  # iterations of the search for how items fail
_CUT = 0.98  # share of the timeout: calls that take longer have timed out


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCalls:
    """The calls of one stage.

    Attributes:
        name: The stage's name.
        seconds: The seconds of calls; None until a call has ended.
        again: The share of calls that another attempt may follow, for items that do not fail in all attempts.
        refused: The share of calls that the server refuses for now.
        lasting: The share of items that fail in every attempt, beyond those that chance explains.
        most: The number of attempts of an item.
        failed: The share of calls after which an item fails although it has attempts left.
        dropped: The share of calls that drop their item.
        sent_back: The share of calls that send their item back.
        cut: The seconds from which calls count as timed out; infinite if none does.
        called: The share of items with which the stage is called.
        children: The mean number of children of an item; 1 if the stage does not expand.
        targets: The names of the stages that items are sent back to.
        usage: The mean tokens of a call.
        cost: The mean cost of a call.
    """

    name: str
    seconds: LiveSeconds | None
    again: float = 0.0
    refused: float = 0.0
    lasting: float = 0.0
    most: int = 1
    failed: float = 0.0
    dropped: float = 0.0
    sent_back: float = 0.0
    cut: float = math.inf
    called: float = 1.0
    children: float = 1.0
    targets: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    cost: float = 0.0

    @property
    def attempts(self) -> float:
        """Calls per item with which the stage is called."""
        return (self.lasting * self.most + (1 - self.lasting) * self._tries) / self._taken

    @property
    def passed(self) -> float:
        """The share of arriving items that go on, items that are not called included."""
        lost = self._fails**self.most + (self.failed + self.dropped) / self._taken * self._tries
        return max(0.0, 1 - self.called * (self.lasting + (1 - self.lasting) * lost))

    @property
    def _taken(self) -> float:
        """The share of calls that the server does not refuse."""
        return max(0.01, 1 - self.refused)

    @property
    def _fails(self) -> float:
        """The share of accepted calls that another attempt may follow."""
        return min(1.0, self.again / self._taken)

    @property
    def _tries(self) -> float:
        """Attempts per item that does not fail in all of them; refused calls are not counted."""
        fails = self._fails
        return float(self.most) if fails >= 1 else (1 - fails**self.most) / (1 - fails)

    def lasts(self, attempt: int) -> float:
        """Returns the chance that an item that has come to this attempt fails in all attempts."""
        others = (1 - self.lasting) * self._fails ** (attempt - 1)
        return self.lasting / (self.lasting + others) if self.lasting else 0.0

    def doubt(self, calls: float) -> float:
        """Returns the coefficient of variation of the time that ``calls`` future calls take.

        The mean is known from the calls that have ended only, and the mean of future calls differs from it by chance.
        """
        if self.seconds is None:
            return 1.0
        repeated = self.again + self.refused
        scatter = self.seconds.scatter / self.attempts + repeated + (1 - self.called)
        known, coming = max(1.0, self.seconds.count / self.attempts), max(1.0, calls / self.attempts)
        return math.sqrt(scatter * (1 / known + 1 / coming))


def calls_of(
    stage: Stage,
    counts: StageSnapshot,
    whole: StageSnapshot,
    ages: Sequence[float],
    *,
    called: float,
    targets: Sequence[str] = (),
) -> StageCalls:
    """Returns what is known of a stage's calls.

    Args:
        stage: The stage.
        counts: The recent counts.
        whole: The counts of the whole run. Usage is known from these only.
        ages: How long the running calls have been running, in seconds.
        called: The share of items with which the stage is called.
        targets: The stages that items are sent back to.
    """
    ended = counts.finished + counts.retried + counts.pushed_back
    seconds = LiveSeconds(counts.seconds, ages) if counts.seconds.count else None
    most = 1 if stage.retry is None else stage.retry.max_attempts
    lasting, fails, final = _failures(counts, most)
    share = 1 / max(1.0, ended - lasting * most)
    refused = min(1.0, counts.pushed_back * share)
    cut = math.inf if stage.timeout is None else stage.timeout * _CUT
    usage, paid = whole.usage, 1 / max(1, whole.finished + whole.retried + whole.pushed_back)
    return StageCalls(
        name=stage.name,
        seconds=seconds,
        again=fails * (1 - refused),
        refused=refused,
        lasting=min(1.0, lasting / max(1, counts.finished)),
        most=most,
        failed=final * share,
        dropped=counts.dropped * share,
        sent_back=counts.sent_back * share if targets else 0.0,
        cut=cut if seconds is not None and seconds.share_from(cut) > 0 else math.inf,
        called=called,
        children=counts.spawned / max(1, counts.done) if stage.expand else 1.0,
        targets=tuple(targets),
        usage=Usage(
            prompt_tokens=round(usage.prompt_tokens * paid), completion_tokens=round(usage.completion_tokens * paid)
        ),
        cost=usage.cost * paid,
    )


def _failures(counts: StageSnapshot, most: int) -> tuple[float, float, float]:
    """Estimates how items with ``most`` attempts fail.

    Some items fail in all attempts by chance. If more items do, some of them always fail. Their number is the one that
    explains the failed items, and at most the one that the number of retries allows.

    Returns:
        The number of items that always fail; the chance that a call of another item fails and may be made again; the
        number of items that failed although they had attempts left.
    """

    def of_others(lasting: float) -> tuple[float, float]:
        retried = max(0.0, counts.retried - lasting * (most - 1))
        calls = max(1.0, counts.finished + counts.retried - lasting * most)
        fails, exhausted = 0.0, 0.0
        for _ in range(_ROUNDS):
            fails = min(1.0, (retried + exhausted) / calls)
            exhausted = max(0.0, counts.finished - lasting) * fails**most
        return fails, exhausted

    low, high = 0.0, min(float(counts.failed), counts.retried / (most - 1)) if most > 1 else 0.0
    for _ in range(_HALVINGS if high else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if middle + of_others(middle)[1] < counts.failed else (low, middle)
    fails, exhausted = of_others(high)
    return high, fails, max(0.0, counts.failed - high - (exhausted if most > 1 else 0.0))


class LiveDraws:
    """Draws the calls of one stage in one simulation; see ``CallDraws``.

    The draws are spread evenly, so the mean of a few hundred calls is close to that of all calls. Only the draws for
    the last items are random, as chance decides how long the longest of these take.

    Attributes:
        placed: The numbers of the items that are in the stage when the simulation begins.
    """

    refused = (0.0, 0.0)
    per_item = 0.0

    def __init__(
        self,
        calls: StageCalls,
        begun: dict[int, Draw],
        *,
        usual: float,
        scale: float,
        numbers: Random,
        place: int,
        last: float,
    ) -> None:
        """Prepares the draws.

        Args:
            calls: What is known of the stage's calls.
            begun: The outcomes of calls that run already, by the number of the item.
            usual: The seconds of a call if no call has ended yet.
            scale: A factor for the seconds of all calls.
            numbers: The source of random numbers.
            place: The index of the stage.
            last: Items from this number on are the last ones.
        """
        self.placed: set[Any] = set()
        self._last, self._random = last, numbers.random
        self.called = calls.called
        self.targets = calls.targets
        self._begun = begun
        self._children, self._calls = calls.children, calls
        self._lasting: dict[int, bool] = {}
        steps = [usual] if calls.seconds is None else calls.seconds.steps
        self._steps, self._count, self._scale = steps, len(steps), scale
        self._stride = _STRIDES[place % len(_STRIDES)]
        self._next = numbers.randrange(self._count)
        self._share = numbers.random()
        self._cut, self._usage = calls.cut, calls.usage if calls.usage.tokens else NOTHING
        timed_out = 0.0 if calls.cut == math.inf or calls.seconds is None else calls.seconds.share_from(calls.cut)
        bad = calls.again + calls.failed
        rest = max(0.0, bad - timed_out) / bad / max(0.01, 1 - timed_out) if bad else 0.0
        ends = (
            ("retried", calls.again * rest),
            ("failed", calls.failed * rest),
            ("pushed_back", calls.refused),
            ("dropped", calls.dropped),
            ("sent_back", calls.sent_back),
        )
        self._ends: list[tuple[float, str]] = []
        reached = 0.0
        for ended, share in ends:
            if share > 0:
                reached += share
                self._ends.append((reached, ended))

    def is_called(self, item_id: Any, seed: int) -> bool:
        """Returns True if the stage is called with an item. Items that are in the stage already are called."""
        return item_id in self.placed or share_of(seed, number_of(item_id), _CALLED) < self.called

    def draw(self, item_id: str, number: int, attempt: int, rounds: int, seed: int) -> Draw:
        """Returns the outcome of a call; see ``StageDraws.draw``."""
        if number < 0 and (begun := self._begun.pop(number, None)) is not None:
            return begun
        if number >= self._last and "/" not in item_id:  # the numbers of children have no order
            self._next, self._share = int(self._random() * self._count), self._random()
        else:
            self._next = (self._next + self._stride) % self._count
        seconds = self._steps[self._next]
        fails = self._lasting.get(number)
        if fails is None:
            fails = share_of(seed, number, _LASTS) < self._calls.lasting
        return Draw(seconds * self._scale, self.ended(seconds, fails=fails), self._usage)

    def has_come_to(self, number: int, attempt: int) -> bool:
        """Notes the attempt that an item has come to. Returns True if the item fails in all attempts."""
        fails = self._lasting[number] = self._random() < self._calls.lasts(attempt)
        return fails

    def ended(self, seconds: float, *, fails: bool = False) -> str:
        """Returns how a call of ``seconds`` ends. ``fails`` is True for an item that fails in all attempts."""
        if fails or seconds >= self._cut:
            return "retried"
        self._share = share = (self._share + _GOLDEN) % 1
        for until, ended in self._ends:
            if share < until:
                return ended
        return "ok"

    def children_of(self, item_id: str, number: int, rounds: int, seed: int) -> int:
        """Returns how many children a call returns: the mean, rounded up or down."""
        self._share = share = (self._share + _GOLDEN) % 1
        return int(self._children + share)
