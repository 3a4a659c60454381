"""What a line of stages would do if one of its resources were another.

The rate is the least of all capacities, but for what resources that could do nearly the same cost each other:

- Slots and a rate limit in front of them take turns in holding a stage up. While all slots are taken, places of the
  limit go by unused, as they are not saved up; and slots wait for their places, as these come one by one. That costs
  the slots a share of ``0.14 * sqrt(slots - 1) / (slots + 1)``, less where the limit is far off. What is left of them,
  and a limit that could do the same, lose another ``0.5 * sqrt(scatter / (slots + 0.75)) + 0.012 * (1 - 2 / slots)``.
- A stage whose next one shares its limit waits for it behind each result, as the next one asks for a place first: half
  an interval.
- A stage waits now and then for the one before it, or behind it. Two that could do the same lose
  a share of ``0.06 * scatter``: 3% if calls are exponential.

The figures are fitted to simulations of 1 to 40 slots, and of calls with coefficients of variation from 0.1 to 1.5. For
slots and a limit the rate is off by 1% on average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rxpipe.insight.capacity import Capacity

_WAITS = 0.14
_BEHIND = 0.5
_LOSS, _MORE_SLOTS, _MORE_LOSS = 0.5, 0.75, 0.012
_LEAST_LOSS, _MOST_LOSS = 1e-4, 0.6
_BETWEEN_STAGES = 0.06
_LEFT = 0.02  # of a limit: what other stages leave of it at least
_HALVINGS = 30
_NOISE, _MOST_OFF = 0.02, 0.1  # how far the observed rate is off what is expected: not worth a word, and too much


class Line:
    """The resources of a run, and what they could do together."""

    def __init__(
        self,
        resources: Sequence[Capacity],
        *,
        strategy: str = "per_stage",
        observed: float | None = None,
    ) -> None:
        """Take them as they are.

        Args:
            resources: As ``capacities`` gives them: stages in order.
            strategy: See ``Pipeline``.
            observed: Items in a second that went through; None if nobody has seen that.
        """
        self.observed = observed
        self.resources = tuple(resources)
        self.strategy = strategy
        self._limits = {each.name: each.units or 0.0 for each in resources if each.kind == "limiter"}
        self._stages = [each for each in resources if each.kind in ("stage", "items")]
        scatters = [each.scatter for each in self._stages]
        self._between = _BETWEEN_STAGES * sum(scatters) / max(1, len(scatters))
        self._all: dict[str, float] = {}
        for each in self._stages:
            for name, taken in each.limits:
                self._all[name] = self._all.get(name, 0.0) + taken

    def rate(self) -> float:
        """Items in a second; infinite if nothing has a bound."""
        most = min((each.rate for each in self.resources), default=math.inf)
        if not 0 < most < math.inf:
            return most
        if not self._limits:
            return self._rate_beside(0.0)
        low, high = 0.0, most
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._rate_beside(middle) > middle:
                low = middle
            else:
                high = middle
        return high

    def with_capacity(self, resource: Capacity, by: float) -> Line:
        """The same with so many times a resource."""
        units = None if resource.units is None else resource.units * by
        changed = replace(resource, rate=resource.rate * by, units=units)
        resources = [changed if each is resource else each for each in self.resources]
        return Line(resources, strategy=self.strategy, observed=self.observed)

    def gain(self, resource: Capacity, by: float) -> float:
        """How much more goes through with so many times a resource, as a share of what goes through now."""
        now, then = self.rate(), self.with_capacity(resource, by).rate()
        return then / now - 1 if 0 < now < math.inf and then < math.inf else 0.0

    def stated_gain(self, resource: Capacity, by: float) -> float:
        """The same as it is told. What is lost beside what is expected may go with the change, or stay: halfway."""
        now, gain = self.rate(), self.gain(resource, by)
        if self.observed is None or not 0 < self.observed < math.inf or not 0 < now < math.inf:
            return gain
        off = math.log(now / self.observed)
        off = math.copysign(min(_MOST_OFF, max(0.0, abs(off) - _NOISE)), off)
        return (1 + gain) * math.exp(off / 2) - 1

    def _rate_beside(self, rate: float) -> float:
        """What the resources could do together if the stages that share a limit took that much of it."""
        stages = [self._stage_rate(place, rate) for place in range(len(self._stages))]
        others = [each.rate for each in self.resources if each.kind not in ("stage", "items")]
        if self.strategy == "staged":
            return _one_after_another([*stages, *others])
        return min([_together(stages, _exponent(self._between)), *others])

    def _stage_rate(self, place: int, rate: float) -> float:
        stage = self._stages[place]
        if stage.rate == math.inf or not stage.limits:
            return stage.rate
        behind = self._stages[place + 1].limits if place + 1 < len(self._stages) else ()
        one_at_a_time = self.strategy == "staged"
        least, slots = stage.rate, math.inf if stage.units is None else stage.units
        for name, taken in stage.limits:
            limit = self._limits.get(name, 0.0)
            if limit <= 0 or taken <= 0:
                continue
            others = 0.0 if one_at_a_time else max(0.0, self._all[name] - taken)
            left = max(limit * _LEFT, limit - rate * others)
            waits = 0.0 if one_at_a_time else _BEHIND * dict(behind).get(name, 0.0) / limit
            slots_rate = 1 / (1 / stage.rate + waits / slots)
            uneven = 1 + others / (others + taken)  # calls of others make its places come less evenly
            least = min(least, taking_turns(slots_rate, left / taken, slots, stage.scatter * uneven))
        return least


def taking_turns(slots_rate: float, limit_rate: float, slots: float, scatter: float) -> float:
    """What slots and the limit in front of them do together.

    Args:
        slots_rate: What the slots could do alone.
        limit_rate: What the limit allows.
        slots: How many slots there are.
        scatter: The Gini coefficient of calls. It is the heavy-traffic peakedness of evenly spaced calls (Whitt,
            "Heavy-traffic approximations for service systems with blocking", AT&T Bell Laboratories Technical Journal
            1984), on which the share of places that find all slots taken depends.
    """
    least = min(slots_rate, limit_rate)
    if slots < 1 or slots == math.inf or not 0 < least < math.inf:
        return least
    near = min(1.0, 2 * (min(1.0, slots_rate / limit_rate)) ** 2)  # with a limit far off, slots hardly wait for it
    waits = near * _WAITS * math.sqrt(slots - 1) / (slots + 1)
    loss = _LOSS * math.sqrt(scatter / (slots + _MORE_SLOTS)) + _MORE_LOSS * (1 - 2 / slots)
    return _together([slots_rate * (1 - waits), limit_rate], _exponent(loss))


def _exponent(loss: float) -> float:
    """By which two that could do the same lose such a share."""
    return math.log(2) / -math.log(1 - min(_MOST_LOSS, max(_LEAST_LOSS, loss)))


def _together(rates: Sequence[float], exponent: float) -> float:
    """A smooth minimum: the larger the exponent, the nearer to the least."""
    least = min(rates, default=math.inf)
    if not 0 < least < math.inf:
        return least
    total = sum((least / each) ** exponent for each in rates)
    return least * math.exp(-math.log(total) / exponent)


def _one_after_another(rates: Sequence[float]) -> float:
    seconds = sum(1 / rate for rate in rates if rate > 0)
    return 1 / seconds if seconds > 0 else math.inf
