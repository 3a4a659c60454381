"""What a live run's numbers say of the calls of its stages, and draws from that."""

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

_STRIDES = (633, 397, 241, 863, 727, 479, 157, 941)  # odd, so that each step comes once in so many; none like another
_GOLDEN = 0.6180339887498949
_CALLED = -4  # what a number is drawn for
_LASTS = -5  # as is this
_ROUNDS, _HALVINGS = 4, 20  # of a search for how items fail
_CUT = 0.98  # of the timeout: calls that take longer have timed out


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCalls:
    """The calls of one stage.

    Attributes:
        name: The stage's name.
        seconds: How long they take; None as long as none has ended.
        again: The share of calls that another one may follow, of items that do not fail in all of their attempts.
        refused: The share that the server refuses for now.
        lasting: The share of items that fail in each attempt, beyond those for which chance accounts.
        most: How many attempts an item has.
        failed: The share of calls with which an item fails, though it might be called again.
        dropped: The share that drops its item.
        sent_back: The share that sends its item back.
        cut: Seconds from which calls count as timed out; infinite if none does.
        called: The share of items that the stage is called with.
        children: Mean number of children of an item; 1 if the stage does not expand.
        targets: Where items are sent back to, by the names of stages.
        usage: What a call uses on average.
        cost: What a call costs on average.
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
        """Calls for each item that it is called with."""
        return (self.lasting * self.most + (1 - self.lasting) * self._tries) / self._taken

    @property
    def passed(self) -> float:
        """The share of items that come and go on, those that it is not called with included."""
        lost = self._fails**self.most + (self.failed + self.dropped) / self._taken * self._tries
        return max(0.0, 1 - self.called * (self.lasting + (1 - self.lasting) * lost))

    @property
    def _taken(self) -> float:
        """The share of calls that the server does not refuse."""
        return max(0.01, 1 - self.refused)

    @property
    def _fails(self) -> float:
        """The share of these that another one may follow."""
        return min(1.0, self.again / self._taken)

    @property
    def _tries(self) -> float:
        """Attempts for each item that does not fail in all of them, refused calls apart."""
        fails = self._fails
        return float(self.most) if fails >= 1 else (1 - fails**self.most) / (1 - fails)

    def lasts(self, attempt: int) -> float:
        """How likely an item that has come to an attempt fails in all of them."""
        others = (1 - self.lasting) * self._fails ** (attempt - 1)
        return self.lasting / (self.lasting + others) if self.lasting else 0.0

    def doubt(self, calls: float) -> float:
        """How exactly the time that so many future calls take is known: its coefficient of variation.

        The mean is known from those that have ended, and the mean of those to come differs from theirs, too.
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
    """What is known of a stage's calls.

    Args:
        stage: The stage.
        counts: What was counted lately.
        whole: What was counted in all: what calls use is only known of that.
        ages: For how long its running calls have been running.
        called: The share of items that it is called with.
        targets: Where it sends items back to.
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
    """How items fail that have so many attempts.

    Of items that fail by chance in each call, a few fail in all attempts. Where more do, there are items that cannot
    but fail: as many as explain the failed items, and no more than the calls that were followed by another allow.

    Returns:
        How many items cannot but fail; how likely another's call fails so that another one may follow; how many items
        failed without another attempt, though they had some left.
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

    What is drawn is spread evenly, so the mean of a few hundred calls is nearly that of all. Only for the last items it
    is not: how long the longest of these takes is left to chance.

    Attributes:
        placed: The numbers of items that are in the stage when the simulation begins.
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
        """Prepare it.

        Args:
            calls: What is known of the calls.
            begun: What becomes of items that are in a call now, by their numbers.
            usual: Seconds of a call, if nothing is known of them.
            scale: Times as long as that all calls take.
            numbers: Where chance comes from.
            place: The stage's number.
            last: From this number on items are the last ones.
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
        """Whether the stage is called with an item: with those that are there already it is."""
        return item_id in self.placed or share_of(seed, number_of(item_id), _CALLED) < self.called

    def draw(self, item_id: str, number: int, attempt: int, rounds: int, seed: int) -> Draw:
        """What becomes of a call; see ``StageDraws.draw``."""
        if number < 0 and (begun := self._begun.pop(number, None)) is not None:
            return begun
        if number >= self._last and "/" not in item_id:  # those of children say nothing
            self._next, self._share = int(self._random() * self._count), self._random()
        else:
            self._next = (self._next + self._stride) % self._count
        seconds = self._steps[self._next]
        fails = self._lasting.get(number)
        if fails is None:
            fails = share_of(seed, number, _LASTS) < self._calls.lasting
        return Draw(seconds * self._scale, self.ended(seconds, fails=fails), self._usage)

    def has_come_to(self, number: int, attempt: int) -> bool:
        """Note an item that has come to an attempt; returns whether it fails in all of them."""
        fails = self._lasting[number] = self._random() < self._calls.lasts(attempt)
        return fails

    def ended(self, seconds: float, *, fails: bool = False) -> str:
        """How a call of so many seconds ends, of an item that fails in all attempts or of another."""
        if fails or seconds >= self._cut:
            return "retried"
        self._share = share = (self._share + _GOLDEN) % 1
        for until, ended in self._ends:
            if share < until:
                return ended
        return "ok"

    def children_of(self, item_id: str, number: int, rounds: int, seed: int) -> int:
        """How many children a call gives: the mean, up or down."""
        self._share = share = (self._share + _GOLDEN) % 1
        return int(self._children + share)
