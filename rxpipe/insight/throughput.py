"""Predicts the rate of a line of stages, also with one of its resources changed.

The rate is the least of all capacities, less the losses between resources with nearly the same capacity:

- Slots and a rate limit in front of them hold a stage up in turns. While all slots are taken, places of the limit pass
  unused, as they are not saved up. At other times slots wait for places, as these come one by one. That costs the slots
  a share of ``0.14 * sqrt(slots - 1) / (slots + 1)``, less if the limit is far off. The remaining slots and a limit of
  the same capacity lose another ``0.5 * sqrt(scatter / (slots + 0.75)) + 0.012 * (1 - 2 / slots)``.
- If two stages in a row share a limit, the first one waits half an interval after each result, as the second one asks
  for a place first.
- Stages sometimes wait for the stage before or after them. Two stages of the same capacity lose a share of
  ``0.06 * scatter``: 3% if the seconds of calls are exponential.

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
_LEFT = 0.02  # share of a limit that other stages always leave
_HALVINGS = 30
_NOISE, _MOST_OFF = 0.02, 0.1  # deviation of the observed rate: too small to count, and the largest


class Line:
    """The resources of a run, and the rate that they can do together."""

    def __init__(
        self,
        resources: Sequence[Capacity],
        *,
        strategy: str = "per_stage",
        observed: float | None = None,
    ) -> None:
        """Creates a line of resources.

        Args:
            resources: The resources as ``capacities`` returns them; stages are in order.
            strategy: See ``Pipeline``.
            observed: The observed items per second; None if there is no observation.
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
        """Returns items per second; infinite if nothing has a bound."""
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
        """Returns a line in which ``resource`` is ``by`` times as large."""
        units = None if resource.units is None else resource.units * by
        changed = replace(resource, rate=resource.rate * by, units=units)
        resources = [changed if each is resource else each for each in self.resources]
        return Line(resources, strategy=self.strategy, observed=self.observed)

    def gain(self, resource: Capacity, by: float) -> float:
        """Returns how much more goes through if ``resource`` is ``by`` times as large, as a share of the rate now."""
        now, then = self.rate(), self.with_capacity(resource, by).rate()
        return then / now - 1 if 0 < now < math.inf and then < math.inf else 0.0

    def stated_gain(self, resource: Capacity, by: float) -> float:
        """Returns the gain as advice states it.

        The observed rate differs from the expected one. The change may remove the difference or keep it, so half of it
        is counted.
        """
        now, gain = self.rate(), self.gain(resource, by)
        if self.observed is None or not 0 < self.observed < math.inf or not 0 < now < math.inf:
            return gain
        off = math.log(now / self.observed)
        off = math.copysign(min(_MOST_OFF, max(0.0, abs(off) - _NOISE)), off)
        return (1 + gain) * math.exp(off / 2) - 1

    def _rate_beside(self, rate: float) -> float:
        """Returns the joint rate if the other stages of a shared limit take what ``rate`` items per second need."""
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
            uneven = 1 + others / (others + taken)  # calls of other stages make the places come less evenly
            least = min(least, taking_turns(slots_rate, left / taken, slots, stage.scatter * uneven))
        return least


def taking_turns(slots_rate: float, limit_rate: float, slots: float, scatter: float) -> float:
    """Returns the rate of slots together with the limit in front of them.

    Args:
        slots_rate: The rate of the slots alone.
        limit_rate: The rate of the limit alone.
        slots: The number of slots.
        scatter: The Gini coefficient of the seconds of calls. It is the heavy-traffic peakedness of evenly spaced calls
            (Whitt, "Heavy-traffic approximations for service systems with blocking", AT&T Bell Laboratories Technical
            Journal 1984), which determines the share of places that find all slots taken.
    """
    least = min(slots_rate, limit_rate)
    if slots < 1 or slots == math.inf or not 0 < least < math.inf:
        return least
    near = min(1.0, 2 * (min(1.0, slots_rate / limit_rate)) ** 2)  # if the limit is far off, slots hardly wait for it
    waits = near * _WAITS * math.sqrt(slots - 1) / (slots + 1)
    loss = _LOSS * math.sqrt(scatter / (slots + _MORE_SLOTS)) + _MORE_LOSS * (1 - 2 / slots)
    return _together([slots_rate * (1 - waits), limit_rate], _exponent(loss))


def _exponent(loss: float) -> float:
    """Returns the exponent with which two equal rates lose the share ``loss``."""
    return math.log(2) / -math.log(1 - min(_MOST_LOSS, max(_LEAST_LOSS, loss)))


def _together(rates: Sequence[float], exponent: float) -> float:
    """Returns a smooth minimum. The larger the exponent, the closer to the least rate."""
    least = min(rates, default=math.inf)
    if not 0 < least < math.inf:
        return least
    total = sum((least / each) ** exponent for each in rates)
    return least * math.exp(-math.log(total) / exponent)


def _one_after_another(rates: Sequence[float]) -> float:
    seconds = sum(1 / rate for rate in rates if rate > 0)
    return 1 / seconds if seconds > 0 else math.inf
