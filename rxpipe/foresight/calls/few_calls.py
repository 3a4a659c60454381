"""What a few calls leave open: how long others take, of which nobody has seen any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from statistics import NormalDist, fmean

from rxpipe.foresight.calls.record import Draw

FEW = 30  # calls: as many tell the shape of their distribution, more or less
_USUAL = 0.5  # the spread of logarithms that calls have before anything is known of them
_WEIGHT = 2  # as many calls as that counts for
_POOL = 200  # durations that are drawn from


def likely_calls(few: Sequence[Draw], seed: int) -> list[Draw]:
    """Calls that are as likely as any, after a few.

    Their logarithms follow a normal distribution. Its variance and its mean are drawn from what is likely after those
    that were seen (the conjugate posterior; Gelman et al., Bayesian Data Analysis, 3.3), with a weak prior.

    Args:
        few: At least one.
        seed: What the draw follows from.
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
