"""How many items in a second each stage, limit, sink and source could do, if all others were without bounds.

The operational laws of Denning and Buzen ("The operational analysis of queueing network models", ACM Computing Surveys
1978): a resource's demand ``D`` is the time that an item takes of it, over all its visits; ``c`` servers can do
``c / D`` items in a second; ``U = X * D / c`` of them are in use when ``X`` items in a second go through. DS2 (Kalavri
and others, OSDI 2018) calls the same a true processing rate, and Plumber (Kuchnik and others, MLSys 2022) a
resource-accounted rate.

Retries, time-outs, drops, children, batches and rounds are all in the demand: it is what was used in a window, over the
items that went through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rxpipe.insight.finding import Kind
from rxpipe.insight.snapshot import LimiterSnapshot, StageSnapshot
from rxpipe.insight.spread import error_of_calls, scatter, variation
from rxpipe.insight.window import Window

ITEMS = "items at once"

CONSUMER = "consumer"  # what a sink is called that does not tell what it writes to
_HELD_UP = 0.02  # of the slots' time: below that, a sink does not hold the stages up
_LEAST_OPEN = 0.01  # of the time: what is left of a limit that the server has paused throughout
_TOKENS = 0.5  # coefficient of variation of a call's tokens, which are not kept
_COMMITS = 0.3  # coefficient of variation of the seconds of a commit, which are not kept either


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one resource could do.

    Attributes:
        kind: ``stage``, ``limiter``, ``sink`` or ``source``; ``items`` is the bound of ``per_item`` on items at once.
        name: Its name.
        rate: Items in a second, at most; infinite without a bound. An item is one of those that the run counts.
        error: The standard error of ``rate``, as a share of it.
        utilization: Which share of ``rate`` is in use.
        demand: What an item takes: slot seconds; units of a limit; seconds of the sink or of waiting for the source.
        units: How many slots there are, or units of the limit in a second; None if these are not counted.
        scatter: How much its calls differ in length: their Gini coefficient, 0 to 1.
        limits: The limits that its calls wait for, and what an item takes of each there.
    """

    kind: Kind
    name: str
    rate: float
    error: float
    utilization: float
    demand: float
    units: float | None = None
    scatter: float = 0.0
    limits: tuple[tuple[str, float], ...] = ()


def capacities(window: Window) -> tuple[Capacity, ...]:
    """Those of all that was used in a window: the source, the stages, the limits, the sink."""
    if not window.items > 0:
        return ()
    counts = window.counts
    found = [_source(window)]
    if counts.strategy == "per_item":
        found.append(_items(window))
    else:
        found += [_stage(window, stage) for stage in counts.stages]
    found += [_limiter(window, limiter) for limiter in counts.limiters]
    found.append(_sink(window))
    return tuple(each for each in found if each is not None)


def _stage(window: Window, stage: StageSnapshot) -> Capacity | None:
    demand = stage.busy / window.items
    if not demand > 0:
        return None
    slots = window.slots(stage)
    return Capacity(
        kind="stage",
        name=stage.name,
        rate=math.inf if slots is None else slots / demand,
        error=error_of_calls(stage),
        utilization=0.0 if not slots else stage.busy / (slots * window.seconds),
        demand=demand,
        units=slots,
        scatter=scatter(stage.seconds),
        limits=tuple((name, _taken_for(window, stage, name)) for name in stage.limiters),
    )


def _taken_for(window: Window, stage: StageSnapshot, name: str) -> float:
    """What an item takes of a limit for its calls of one stage: by its share of the calls that the limit counts."""
    limiter = next((each for each in window.counts.limiters if each.name == name), None)
    calls = sum(each.calls for each in window.counts.stages if name in each.limiters)
    if limiter is None or not calls:
        return 0.0
    return limiter.taken * stage.calls / calls / window.items


def _items(window: Window) -> Capacity | None:
    """With ``per_item`` an item has a slot until it has been through all stages."""
    stages = [stage for stage in window.counts.stages if stage.busy > 0]
    slots = max((each for stage in stages if (each := window.slots(stage)) is not None), default=0.0)
    busy = sum(stage.busy for stage in stages)
    demand = busy / window.items
    if not (slots > 0 and demand > 0):
        return None
    shares = [(stage, stage.busy / busy) for stage in stages]
    return Capacity(
        kind="items",
        name=ITEMS,
        rate=slots / demand,
        error=math.hypot(*(error_of_calls(stage) * share for stage, share in shares)),
        utilization=busy / (slots * window.seconds),
        demand=demand,
        units=slots,
        scatter=math.hypot(*(scatter(stage.seconds) * share for stage, share in shares)),
        limits=tuple((limiter.name, limiter.taken / window.items) for limiter in window.counts.limiters),
    )


def _limiter(window: Window, limiter: LimiterSnapshot) -> Capacity | None:
    demand = limiter.taken / window.items
    if not (demand > 0 and 0 < limiter.rate < math.inf):
        return None
    rate = limiter.rate * max(_LEAST_OPEN, 1 - limiter.paused / window.seconds)
    if not rate * window.seconds > 0:  # as good as none
        return None
    return Capacity(
        kind="limiter",
        name=limiter.name,
        rate=rate / demand,
        error=_error_of_limit(window, limiter),
        utilization=limiter.taken / (rate * window.seconds),
        demand=demand,
        units=rate,
    )


def _error_of_limit(window: Window, limiter: LimiterSnapshot) -> float:
    """What an item takes varies as its attempts do, which are geometric, and as the sizes of calls."""
    stages = [stage for stage in window.counts.stages if limiter.name in stage.limiters]
    calls, items = sum(stage.calls for stage in stages), sum(stage.finished for stage in stages)
    if not calls:
        return 1 / math.sqrt(max(1.0, limiter.taken))
    again = 1 - min(1.0, items / calls)
    return math.sqrt((again + (_TOKENS**2 if limiter.unit == "tokens" else 0.0)) / calls)


def _sink(window: Window) -> Capacity | None:
    """The sink's, if it holds the stages up.

    If it does not, how much it could do is not known: its batches are small while there is little to write, so it may
    be busy all the time and yet have much to spare.
    """
    sink = window.counts.sink
    if sink is None:
        return _consumer(window)
    if not sink.busy > 0 or not _sink_holds_up(window):
        return None
    busy = min(1.0, sink.busy / window.seconds)
    if not busy > 0:  # as good as never
        return None
    return Capacity(
        kind="sink",
        name=sink.name,
        rate=window.rate / busy,
        error=_COMMITS / math.sqrt(max(1, sink.commits)),
        utilization=busy,
        demand=sink.busy / window.items,
    )


def _consumer(window: Window) -> Capacity | None:
    """A sink that does not count its commits, or whoever takes the outcomes.

    How busy it is shows in the last stage: the share of the time without a call in which its slots are blocked.
    """
    if not _sink_holds_up(window):
        return None
    last = window.counts.stages[-1]
    slots = window.slots(last)
    free = window.seconds if slots is None else slots * window.seconds - last.busy
    share = min(1.0, last.blocked / free) if free > 0 else 0.0
    if not share > 0:
        return None
    return Capacity(
        kind="sink",
        name=CONSUMER,
        rate=window.rate / share,
        error=1 / math.sqrt(window.items),
        utilization=share,
        demand=share * window.seconds / window.items,
    )


def _sink_holds_up(window: Window) -> bool:
    stages = window.counts.stages
    if not stages:
        return False
    waited = stages[-1].blocked + sum(stage.held for stage in stages)
    slots = window.slots(stages[-1])
    return waited > _HELD_UP * window.seconds * (1 if slots is None else slots)


def _source(window: Window) -> Capacity | None:
    """The source's, from the time in which there was room and it gave nothing, but for the run's start and end.

    How exactly that is known follows from how often it was waited for, and how much these waits differ. One wait says
    nothing of those to come.

    With a store, items come through the database: while that holds the stages up, it is not the source they wait for.
    """
    if window.counts.run is not None and _sink(window) is not None:
        return None
    waits = window.counts.source.waits
    share = min(1.0, waits.total / window.seconds)
    if not (share > 0 and waits.count > 1):
        return None
    return Capacity(
        kind="source",
        name="source",
        rate=window.rate / share,
        error=variation(waits) / math.sqrt(waits.count),
        utilization=share,
        demand=waits.total / window.items,
    )
