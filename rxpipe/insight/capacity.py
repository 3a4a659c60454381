"""The capacity of each stage, limit, sink and source: its items per second if all others had no bounds.

The operational laws are those of Denning and Buzen ("The operational analysis of queueing network models", ACM
Computing Surveys 1978). A resource's demand ``D`` is the time of the resource that an item takes, over all its visits.
``c`` servers can do ``c / D`` items per second. ``U = X * D / c`` of them are in use when ``X`` items per second go
through. DS2 (Kalavri and others, OSDI 2018) calls the capacity a true processing rate, and Plumber (Kuchnik and
others, MLSys 2022) a resource-accounted rate.

The demand includes retries, timeouts, drops, children, batches and rounds: it is the use of the resource in a window,
divided by the items that went through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rxpipe.insight.finding import Kind
from rxpipe.insight.snapshot import LimiterSnapshot, StageSnapshot
from rxpipe.insight.spread import error_of_calls, scatter, variation
from rxpipe.insight.window import Window

ITEMS = "items at once"

CONSUMER = "consumer"  # the name of a sink that does not say what it writes to
_HELD_UP = 0.02  # share of slot time: below this, a sink does not hold the stages up
_LEAST_OPEN = 0.01  # share of the time that a limit stays open at least, even if the server always pauses calls
_TOKENS = 0.5  # coefficient of variation of a call's tokens, which is not measured
_COMMITS = 0.3  # coefficient of variation of the seconds of a commit, which is not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The capacity of one resource.

    Attributes:
        kind: ``stage``, ``limiter``, ``sink`` or ``source``; ``items`` is the bound of ``per_item`` on items at once.
        name: The resource's name.
        rate: The most items per second; infinite without a bound. Children count as items, too.
        error: The standard error of ``rate``, as a share of it.
        utilization: The share of ``rate`` that is in use.
        demand: What an item takes: slot seconds, units of a limit, or seconds of the sink or of waiting for the source.
        units: The slots, or the units of a limit per second; None if the resource has no such number.
        scatter: How much the seconds of calls differ: their Gini coefficient, 0 to 1.
        limits: The names of the limits that the calls wait for, each with the units that an item takes of it.
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
    """Returns the capacities of all resources used in a window: source, stages, limits and sink."""
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
    """Returns how much of a limit an item takes for its calls of one stage, by the stage's share of calls."""
    limiter = next((each for each in window.counts.limiters if each.name == name), None)
    calls = sum(each.calls for each in window.counts.stages if name in each.limiters)
    if limiter is None or not calls:
        return 0.0
    return limiter.taken * stage.calls / calls / window.items


def _items(window: Window) -> Capacity | None:
    """Returns the capacity with ``per_item``, where an item keeps its slot through all stages."""
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
    if not rate * window.seconds > 0:  # practically none
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
    """Returns the relative error of a limit. Attempts per item vary geometrically, and the sizes of calls vary, too."""
    stages = [stage for stage in window.counts.stages if limiter.name in stage.limiters]
    calls, items = sum(stage.calls for stage in stages), sum(stage.finished for stage in stages)
    if not calls:
        return 1 / math.sqrt(max(1.0, limiter.taken))
    again = 1 - min(1.0, items / calls)
    return math.sqrt((again + (_TOKENS**2 if limiter.unit == "tokens" else 0.0)) / calls)


def _sink(window: Window) -> Capacity | None:
    """Returns the sink's capacity if the sink holds the stages up; otherwise None.

    The capacity of a sink that holds nothing up is not known. Its batches are small while there is little to write, so
    the sink may be busy all the time and still have much to spare.
    """
    sink = window.counts.sink
    if sink is None:
        return _consumer(window)
    if not sink.busy > 0 or not _sink_holds_up(window):
        return None
    busy = min(1.0, sink.busy / window.seconds)
    if not busy > 0:  # practically never
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
    """Returns the capacity of a sink that does not count its commits, or of the subscriber that takes the outcomes.

    The last stage shows how busy the consumer is: by the share of time without a call in which its slots are blocked.
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
    """Returns the source's capacity, from the time in which there was room and the source gave nothing.

    The start and the end of the run are left out. The error follows from the number of waits and from how much they
    differ. A single wait says nothing about later ones.

    With a store, items come through the database. While the database holds the stages up, they do not wait for the
    source.
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
