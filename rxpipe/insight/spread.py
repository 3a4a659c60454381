"""How much durations differ, and how exactly a mean of them is known."""

from __future__ import annotations

import math

from rxpipe.insight.snapshot import StageSnapshot
from rxpipe.operators.stages.durations import Durations

_STEP = math.log(1.02)  # of the logarithm of seconds, from bucket to bucket; their ratio is all that counts here


def variation(durations: Durations) -> float:
    """The coefficient of variation: the standard deviation as a share of the mean; 1 for fewer than two durations."""
    known = _known(durations)
    count = sum(many for _, many in known)
    if count < 2:
        return 1.0
    mean = sum(seconds * many for seconds, many in known) / count
    return math.sqrt(sum((seconds / mean - 1) ** 2 * many for seconds, many in known) / (count - 1))


def scatter(durations: Durations) -> float:
    """The Gini coefficient: half of the mean difference of two durations, as a share of their mean.

    0 if all are equal, 0.5 for exponential ones.
    """
    known = _known(durations)
    count = sum(many for _, many in known)
    if count < 2:
        return 0.5
    longer, before, lesser, mean = count, 0.0, 0.0, 0.0
    for seconds, many in known:  # the lesser of two lasts longer than t if both do
        share = longer / count
        lesser += (seconds - before) * share * share
        mean += (seconds - before) * share
        longer, before = longer - many, seconds
    return min(1.0, max(0.0, 1 - lesser / mean))


def _known(durations: Durations) -> list[tuple[float, int]]:
    """Seconds, up to a factor which all have in common, and how many there are of them; the shortest first."""
    buckets = {bucket: many for bucket, many in durations.buckets.items() if many > 0}
    if not buckets:
        return []
    longest = max(buckets)
    return [(math.exp(max(-600.0, (bucket - longest) * _STEP)), buckets[bucket]) for bucket in sorted(buckets)]


def error_of_calls(stage: StageSnapshot) -> float:
    """The relative standard error of the slot seconds that an item takes of a stage; infinite if too little is known.

    A normal approximation: calls differ as they were seen to, and attempts are geometric.
    """
    calls, items = max(stage.seconds.count, stage.calls), stage.finished
    if calls < 2 or items < 2:
        return math.inf
    again = max(0.0, 1 - items / calls)
    return math.sqrt((variation(stage.seconds) ** 2 + again) / calls)
