"""Draws likely calls where only a few are recorded, as other calls may take longer or shorter than these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import NormalDist, fmean

from rxpipe.foresight.calls.record import Draw

FEW = 30  # calls: from this number on, they show the shape of their distribution well enough
_USUAL = 0.5  # the spread of the logarithms of seconds before any call is known
_WEIGHT = 2  # the assumed spread counts as much as this many calls
_POOL = 200  # durations to draw from


def likely_calls(few: Sequence[Draw], seed: int) -> list[Draw]:
    """Returns likely calls, given a few recorded ones.

    The logarithms of the seconds follow a normal distribution. Its variance and its mean are drawn from their
    distribution given the recorded calls (the conjugate posterior; Gelman et al., Bayesian Data Analysis, 3.3), with a
    weak prior.

    Args:
        few: The recorded calls, at least one.
        seed: The seed of the draw.
    """
    numbers = Random(seed)
    logs = [math.log(max(1e-9, one.seconds)) for one in few if one.seconds < math.inf]
    if not logs:
        return list(few)
    count, mean = len(logs), fmean(logs)
    free = count - 1 + _WEIGHT
    squares = sum((one - mean) ** 2 for one in logs) + _WEIGHT * _USUAL**2
    variance = squares / (2 * numbers.gammavariate(free / 2, 1.0))
    middle = numbers.gauss(mean, math.sqrt(variance / count))
    normal = NormalDist(middle, max(1e-9, math.sqrt(variance)))
    seconds = [math.exp(normal.inv_cdf((place + 0.5) / _POOL)) for place in range(_POOL)]
    chosen = numbers.choices(few, k=_POOL)
    return [
        one._replace(seconds=each if one.seconds < math.inf else one.seconds)
        for one, each in zip(chosen, seconds, strict=True)
    ]
