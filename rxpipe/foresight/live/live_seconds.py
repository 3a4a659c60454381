"""How long the calls of a live run take, from a stage's histogram and from the calls that still run.

A call that has been running for a while takes longer than that. Without such calls, the estimate would be too short,
especially when a run has just begun. Running calls count as censored (Kaplan and Meier, 1958).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from random import Random

from rxpipe.operators.stages.durations import Durations

_STEPS = 1_024  # a power of 2
_BEYOND = 1.25  # times its present age: the end of a call that runs longer than any other
_LOOSE = 0.1  # seconds beyond the time that it has been running, as a share of that, at least


class LiveSeconds:
    """The distribution of the seconds of a stage's calls.

    Attributes:
        count: The number of calls that have ended.
        mean: The mean in seconds.
        scatter: The square of the coefficient of variation.
        steps: Durations in seconds, all equally likely, in order.
    """

    def __init__(self, ended: Durations, ages: Sequence[float] = ()) -> None:
        """Estimates the distribution.

        Args:
            ended: The seconds of calls that have ended; at least one.
            ages: How long other calls have been running, in seconds.
        """
        self.count = ended.count
        masses = _masses(ended, sorted(ages))
        total = sum(mass for _, mass in masses)
        self.mean = sum(seconds * mass for seconds, mass in masses) / total
        square = sum(seconds * seconds * mass for seconds, mass in masses) / total
        self.scatter = max(0.0, square / self.mean**2 - 1) if self.mean > 0 else 0.0
        self.steps = _steps(masses, total)

    def rest(self, age: float, numbers: Random) -> float:
        """Returns the seconds that a call still takes after running for ``age`` seconds."""
        place = bisect_right(self.steps, age)
        if place >= _STEPS:
            return age * (_BEYOND - 1) * -math.log(1 - numbers.random())
        return self.steps[numbers.randrange(place, _STEPS)] - age

    def share_from(self, seconds: float) -> float:
        """Returns the share of calls that take ``seconds`` or longer."""
        return 1 - bisect_right(self.steps, seconds) / _STEPS


def _masses(ended: Durations, ages: Sequence[float]) -> list[tuple[float, float]]:
    """Returns durations and the probability of each."""
    found: list[tuple[float, float]] = []
    at_risk = float(ended.count + len(ages))
    living, place = 1.0, 0
    for seconds, count in ended.values():
        while place < len(ages) and ages[place] < seconds:
            place += 1
            at_risk -= 1
        mass = living * count / at_risk
        found.append((seconds, mass))
        living -= mass
        at_risk -= count
    if place < len(ages) and living > 0:
        each = living / (len(ages) - place)
        found += [(age * _BEYOND, each) for age in ages[place:]]
    return found


def _steps(masses: Sequence[tuple[float, float]], total: float) -> list[float]:
    steps: list[float] = []
    reached = 0.0
    for seconds, mass in masses:
        reached += mass / total
        steps += [seconds] * (min(_STEPS, round(reached * _STEPS)) - len(steps))
    steps += [masses[-1][0]] * (_STEPS - len(steps))
    return steps
