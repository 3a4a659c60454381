"""Finds what holds a run up: the resource of which half as much again would gain most.

This is the resource with the least capacity, as in DS2 (Kalavri and others, OSDI 2018) and Plumber (Kuchnik and others,
MLSys 2022), or the slots and the limit that together have the least. The share of taken slots does not show it: a stage
that waits for room downstream also has its slots taken. Flink separates busy from backpressured time for this reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rxpipe.insight.capacity import Capacity, capacities
from rxpipe.insight.finding import Kind, Verdict
from rxpipe.insight.snapshot import Snapshot
from rxpipe.insight.throughput import Line
from rxpipe.insight.window import Window, settled, whole

HALF_AGAIN = 1.5
_ITEMS = 20  # the fewest items that must have gone through
_UNSURE = 0.15  # the largest acceptable error of the most likely bottleneck,
_CLEAR = 2.0  # unless the gains differ by this many errors
_SAME = 0.005  # gains that differ by less count as equal
_SURE = 0.6  # standard errors: closer gains are too close to call; at this distance three of four verdicts are right
_IDLE = 0.7  # below this share of the expected rate, something else holds the run up


@dataclass(frozen=True, slots=True, kw_only=True)
class Bottleneck:
    """The resource that holds a run up.

    Attributes:
        verdict: ``found``; ``close``, if ``other`` is as likely; ``nothing``, if no measured resource holds the run up;
            ``unknown``, if there are too few numbers yet.
        kind: The kind of resource; None if no resource is named.
        name: The resource's name; None if no resource is named.
        capacity: Items per second that the resource could do.
        utilization: The share of the capacity that is used, 0 to 1.
        confidence: The probability that this resource holds the run up rather than any other, 0 to 1.
        other: The name of the next resource.
        other_kind: The kind of the next resource.
    """

    verdict: Verdict
    kind: Kind | None = None
    name: str | None = None
    capacity: float | None = None
    utilization: float | None = None
    confidence: float = 0.0
    other: str | None = None
    other_kind: Kind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A bottleneck with the numbers that it was found from.

    Attributes:
        bottleneck: What holds the run up.
        window: The part of the run that was analysed; None if there is none.
        line: The resources of the run; None if there are too few numbers.
        first: The resource that holds the run up, or that seems to.
        second: The next resource.
    """

    bottleneck: Bottleneck
    window: Window | None = None
    line: Line | None = None
    first: Capacity | None = None
    second: Capacity | None = None


def analysis_of(snapshots: Sequence[Snapshot]) -> Analysis:
    """Finds what holds a run up from its snapshots, the latest last."""
    window = _window(snapshots)
    if window is None or window.items < _ITEMS:
        return Analysis(bottleneck=Bottleneck(verdict="unknown"), window=window)
    line = Line(capacities(window), strategy=window.counts.strategy, observed=window.rate)
    ranked = ranking(line)
    if not ranked:
        return Analysis(bottleneck=Bottleneck(verdict="nothing"), window=window, line=line)
    (gain, first), (next_gain, second) = ranked[0], ranked[1] if len(ranked) > 1 else (0.0, None)
    error = math.hypot(first.error, 0.0 if second is None else second.error)
    if not error < math.inf or (error > _UNSURE and not _is_clear(ranked, error)):
        verdict: Verdict = "unknown"
    elif window.rate < _IDLE * line.rate():
        verdict = "unknown" if _has_start(window) else "nothing"
    else:
        verdict = "close" if second is not None and gain - next_gain < max(_SAME, _SURE * error) else "found"
    analysis = Analysis(bottleneck=Bottleneck(verdict=verdict), window=window, line=line, first=first, second=second)
    if verdict in ("unknown", "nothing"):
        return analysis
    bottleneck = Bottleneck(
        verdict=verdict,
        kind=first.kind,
        name=first.name,
        capacity=first.rate,
        utilization=first.utilization,
        confidence=1.0 if second is None else _probability(gain - next_gain, error),
        other=None if second is None else second.name,
        other_kind=None if second is None else second.kind,
    )
    return Analysis(bottleneck=bottleneck, window=window, line=line, first=first, second=second)


def _is_clear(ranked: Sequence[tuple[float, Capacity]], error: float) -> bool:
    """Returns True if the first resource is clear in spite of large errors: its gain or its capacity differs by far."""
    if len(ranked) < 2:
        return ranked[0][0] >= _CLEAR * error
    (gain, first), (next_gain, second) = ranked[:2]
    if gain - next_gain >= _CLEAR * error:
        return True
    return first.error <= _UNSURE and math.log(max(1.0, second.rate / first.rate)) >= _CLEAR * error


def _has_start(window: Window) -> bool:
    """Returns True if the window is the whole run. Little goes through at the start and at the end of a run."""
    return window.counts.strategy != "staged" and window.seconds >= window.end.elapsed


def ranking(line: Line) -> list[tuple[float, Capacity]]:
    """Returns the bounded resources with the gain of half as much again: highest gain first, then least capacity."""
    bounded = [each for each in line.resources if each.rate < math.inf]
    gains = [(line.gain(each, HALF_AGAIN), each) for each in bounded]
    return sorted(gains, key=lambda pair: (-round(pair[0], 9), pair[1].rate))


def _window(snapshots: Sequence[Snapshot]) -> Window | None:
    if not snapshots:
        return None
    last = snapshots[-1]
    if last.strategy == "staged":  # one stage runs after the other: only the whole run shows how long each takes
        return whole(last) if last.source.is_over and all(stage.finished for stage in last.stages) else None
    found = settled(snapshots)
    is_short = found is None or found.items < _ITEMS
    return whole(last) if is_short and last.source.is_over and not last.in_flight else found  # a short run is over


def _probability(difference: float, error: float) -> float:
    """Returns the probability that a difference with this standard error is above 0."""
    if error <= 0:
        return 1.0
    return (1 + math.erf(difference / error / math.sqrt(2))) / 2
