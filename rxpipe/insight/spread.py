"""How much durations differ, and how exactly their mean is known."""

from __future__ import annotations

import math

from rxpipe.insight.snapshot import StageSnapshot
from rxpipe.operators.stages.durations import Durations

_STEP = math.log(1.02)  # the step of log(seconds) from bucket to bucket; only ratios of seconds count here


def variation(durations: Durations) -> float:
    """Returns the standard deviation divided by the mean (coefficient of variation); 1 for fewer than two durations."""
    known = _known(durations)
    count = sum(many for _, many in known)
    if count < 2:
        return 1.0
    mean = sum(seconds * many for seconds, many in known) / count
    return math.sqrt(sum((seconds / mean - 1) ** 2 * many for seconds, many in known) / (count - 1))


def scatter(durations: Durations) -> float:
    """Returns the Gini coefficient: half of the mean difference of two durations, divided by their mean.

    The coefficient is 0 if all durations are equal, and 0.5 if they are exponential.
    """
    known = _known(durations)
    count = sum(many for _, many in known)
    if count < 2:
        return 0.5
    longer, before, lesser, mean = count, 0.0, 0.0, 0.0
    for seconds, many in known:  # the shorter of two durations exceeds t if both do
        share = longer / count
        lesser += (seconds - before) * share * share
        mean += (seconds - before) * share
        longer, before = longer - many, seconds
    return min(1.0, max(0.0, 1 - lesser / mean))


def _known(durations: Durations) -> list[tuple[float, int]]:
    """Returns the durations up to a common factor, the shortest first, with the number of each."""
    buckets = {bucket: many for bucket, many in durations.buckets.items() if many > 0}
    if not buckets:
        return []
    longest = max(buckets)
    return [(math.exp(max(-600.0, (bucket - longest) * _STEP)), buckets[bucket]) for bucket in sorted(buckets)]


def error_of_calls(stage: StageSnapshot) -> float:
    """Returns the relative standard error of the slot seconds per item of a stage; infinite if too little is known.

    The error is a normal approximation. Durations vary as observed, and the number of attempts is geometric.
    """
    calls, items = max(stage.seconds.count, stage.calls), stage.finished
    if calls < 2 or items < 2:
        return math.inf
    again = max(0.0, 1 - items / calls)
    return math.sqrt((variation(stage.seconds) ** 2 + again) / calls)
