"""Draws the outcomes of a stage's calls in a simulation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from rxpipe.foresight.calls.chance import number_of, share_of
from rxpipe.foresight.calls.few_calls import FEW, likely_calls
from rxpipe.foresight.calls.further_attempts import FurtherAttempts, is_failure
from rxpipe.foresight.calls.record import ENOUGH, Draw

Draws = Sequence[Draw]


class Distribution(Protocol):
    """A distribution of the seconds of calls."""

    def at(self, share: float) -> float:
        """Returns the seconds that this share of the calls, between 0 and 1, does not exceed."""
        ...


class CallDraws(Protocol):
    """Draws the outcomes of a stage's calls; see ``StageDraws`` for the meaning of each member."""

    @property
    def refused(self) -> tuple[float, float]: ...  # noqa: D102 - as all below
    @property
    def called(self) -> float: ...  # noqa: D102
    @property
    def targets(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def per_item(self) -> float: ...  # noqa: D102
    def draw(self, item_id: str, number: int, attempt: int, rounds: int, seed: int) -> Draw: ...  # noqa: D102
    def is_called(self, item_id: Any, seed: int) -> bool: ...  # noqa: D102
    def children_of(self, item_id: str, number: int, rounds: int, seed: int) -> int: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class StageDraws:
    """The data from which the calls of a stage are drawn.

    Attributes:
        first: First attempts, all equally likely.
        later: Further attempts.
        further: How likely further attempts fail; None if that is not known.
        again: First attempts in later rounds, of items that were sent back.
        own: The recorded calls of an item in their order, by the item's ID, where they are known.
        refused: The share of calls that the server refuses for now, and the seconds of such a call.
        called: The share of items with which the stage is called.
        passed: The IDs, as text, of items that pass the stage without a call.
        children: Numbers of children that a call of an expanding stage returns.
        own_children: The number of children by the parent's ID, where it is known.
        targets: The names of the stages that items are sent back to.
        per_item: The seconds of each further item in a batch, as a share of the seconds of a call with one item.
    """

    first: Draws
    later: Draws = ()
    further: FurtherAttempts | None = None
    again: Draws = ()
    own: Mapping[str, Draws] = field(default_factory=dict[str, Draws])
    refused: tuple[float, float] = (0.0, 0.0)
    called: float = 1.0
    passed: Collection[str] = frozenset()
    children: Sequence[int] = ()
    own_children: Mapping[str, int] = field(default_factory=dict[str, int])
    targets: Sequence[str] = ()
    per_item: float = 0.0

    def draw(self, item_id: str, number: int, attempt: int, rounds: int, seed: int) -> Draw:
        """Returns the outcome of a call.

        Args:
            item_id: The item's ID, as text.
            number: The number of the ID, from ``number_of``.
            attempt: The number of the attempt for the item in this stage, from 1.
            rounds: How often the item was sent back before.
            seed: The seed of the simulation and the stage.
        """
        if rounds == 0 and (own := self.own.get(item_id)) is not None and attempt <= len(own):
            return own[attempt - 1]
        share = share_of(seed, number, attempt, rounds)
        if attempt > 1 and self.further is not None:
            return self._further_attempt(self.further.chance(attempt), share)
        pool = self.again if rounds > 0 and len(self.again) >= ENOUGH else self.first
        return pool[int(share * len(pool))]

    def _further_attempt(self, chance: float, share: float) -> Draw:
        """Returns a further attempt that fails with the given chance. ``share`` is a random number from 0 to 1."""
        failures, others = self._further_draws
        if share < chance:
            return failures[int(share / chance * len(failures))]
        return others[int((share - chance) / (1 - chance) * len(others))]

    @cached_property
    def _further_draws(self) -> tuple[Draws, Draws]:
        """The failed further attempts and the others. First attempts take their place if few are known."""
        pools = [self.later, self.first] if len(self.later) >= ENOUGH else [self.first, self.later]
        kinds = [[[draw for draw in pool if is_failure(draw) == fails] for pool in pools] for fails in (True, False)]
        failures, others = (next(filter(None, kind), self.first) for kind in kinds)
        return failures, others

    def is_called(self, item_id: Any, seed: int) -> bool:
        """Returns True if the stage is called with this item."""
        text = str(item_id)
        if text in self.passed or text in self.own:
            return text not in self.passed
        return share_of(seed, number_of(item_id), -4) < self.called

    def children_of(self, item_id: str, number: int, rounds: int, seed: int) -> int:
        """Returns how many children a call returns."""
        if rounds == 0 and (own := self.own_children.get(item_id)) is not None:
            return own
        if not self.children:
            return 1
        return self.children[int(share_of(seed, number, rounds, -1) * len(self.children))]

    def resampled(self, seed: int) -> StageDraws:
        """Returns draws as from another record with as many calls of the same kind (Efron's bootstrap, 1979).

        With a few calls only, the new calls may differ from all recorded ones.
        """

        def again(pool: Draws, what: int) -> Draws:
            count = len(pool)
            return [pool[int(share_of(seed, what, place) * count)] for place in range(count)]

        return StageDraws(
            first=likely_calls(self.first, seed) if len(self.first) < FEW else again(self.first, 1),
            later=again(self.later, 2),
            further=None if self.further is None else self.further.likely(seed),
            again=again(self.again, 3),
            refused=self.refused,
            called=self.called,
            children=[self.children[int(share_of(seed, 4, n) * len(self.children))] for n in range(len(self.children))],
            targets=self.targets,
            per_item=self.per_item,
        )


def drawn_from(distribution: Distribution, count: int = 2_000) -> StageDraws:
    """Returns draws with ``count`` different durations from a distribution. The calls never fail."""
    return StageDraws(first=[Draw(distribution.at((place + 0.5) / count)) for place in range(count)])
