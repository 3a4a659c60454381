"""Recommends a change that lets more items through, and says how much the change gains.

The recommended slots of a stage are the fewest with which another resource holds the run up: ``ceil(D * X)``. ``D`` is
the slot seconds per item, and ``X`` the items per second that all other resources can do. More slots would gain
nothing. The advice never exceeds 16 times the present slots, as nothing is known of what lies that far off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rxpipe.insight.bottleneck import HALF_AGAIN, Analysis
from rxpipe.insight.capacity import ITEMS, Capacity
from rxpipe.insight.finding import Kind
from rxpipe.insight.refusals import refusals_of
from rxpipe.insight.snapshot import StageSnapshot
from rxpipe.insight.throughput import Line
from rxpipe.insight.window import Window

_FAR = 1.5  # times the slots that were seen at work: with more, a server may become slower
_FARTHEST = 16  # times the present amount: the highest recommendation
_ALL = {2: "both", 3: "all three", 4: "all four"}  # the words for resources that are named together
_MUCH = 0.25  # a gain: half of what half as much again could give
_WORTH = 0.01  # the smallest gain that is worth a change
_MOST = 0.8  # share of a gain that is enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A recommended change.

    Attributes:
        sentence: What holds the run up, and what a change would gain.
        kind: The kind of resource to change; None if there is no advice.
        name: The resource's name; None if there is no advice.
        now: The present amount: slots, or units of a limit per second; None if the resource has no amount.
        to: The recommended amount; None if a change gains nothing, or if the resource has no amount.
        gain: How much more would go through, as a share of the present rate; None if that is not known.
        up_to: True if the gain may be smaller: the server refuses calls, or ``to`` is far above ``now``.
        then: The resource that would hold the run up next; None for none.
        other: The resource that may hold the run up instead, if it is too close to call; otherwise None.
    """

    sentence: str
    kind: Kind | None = None
    name: str | None = None
    now: float | None = None
    to: float | None = None
    gain: float | None = None
    up_to: bool = False
    then: str | None = None
    other: str | None = None


def advice_of(analysis: Analysis) -> Advice:
    """Returns the advice that follows from an analysis."""
    if analysis.window is not None and (refusals := refusals_of(analysis.window)) is not None:
        stage = refusals.stage
        return Advice(sentence=refusals.sentence, kind="stage", name=stage.name, now=stage.concurrency, up_to=True)
    verdict, first, second = analysis.bottleneck.verdict, analysis.first, analysis.second
    if verdict == "unknown":
        return Advice(sentence="not enough has gone through yet to say what holds the run up")
    if verdict == "nothing" or analysis.window is None or analysis.line is None or first is None:
        return Advice(sentence="no stage, limit, sink or source holds the run up")
    if verdict == "close" and second is not None:
        return _too_close(first, second, analysis.line)
    if first.kind in ("stage", "items"):
        return _slots(first, analysis.line, analysis.window)
    if first.kind == "limiter":
        return _limit(first, analysis.line)
    return _sink(first, analysis.line, analysis.window) if first.kind == "sink" else _source(first, analysis.line)


def _slots(stage: Capacity, line: Line, window: Window) -> Advice:
    now = round(stage.units or 0)
    if line.strategy == "staged":
        to, then = math.ceil(now * HALF_AGAIN), None
    else:
        others, then = _without(line, stage)
        to = math.ceil((now * HALF_AGAIN if others == math.inf else stage.demand * others) - 1e-9)
        to = max(to, _most_of_the_gain(stage, line, now))
        if to > _FARTHEST * now:
            to, then = _FARTHEST * now, None  # the next resource is not reached with this many slots
    gain = line.stated_gain(stage, to / (stage.units or 1))
    counts = next((each for each in window.counts.stages if each.name == stage.name), None)
    up_to = to > _FAR * now or _is_refused(stage, window)
    start = f"{title(stage)} {_holds(stage)}: {_of(now, stage)}, {_busy(stage)}"
    if counts is not None and _adapts(counts):
        sentence = f"{start}; {_adapting(counts)}"
        return Advice(sentence=sentence, kind=stage.kind, name=stage.name, now=now, up_to=True, then=_name(then))
    if gain < _WORTH:
        sentence = f"{start}; more alone would gain nothing{'' if then is None else f', as {title(then)} is next'}"
        return Advice(sentence=sentence, kind=stage.kind, name=stage.name, now=now, then=_name(then))
    tail = "" if then is None else f", then {title(then)} does"
    if line.strategy == "staged":
        tail = ", and the strategy per_stage would run all stages at once"
    sentence = f"{start}; {to} would give {'up to ' if up_to else ''}{_percent(gain)}{tail}"
    return Advice(
        sentence=sentence, kind=stage.kind, name=stage.name, now=now, to=to, gain=gain, up_to=up_to, then=_name(then)
    )


def _most_of_the_gain(stage: Capacity, line: Line, now: int) -> int:
    """Returns the fewest slots that give most of the gain of half as many again. Used where a limit takes turns."""
    enough = _MOST * line.gain(stage, HALF_AGAIN)
    most = math.ceil(now * HALF_AGAIN)
    low, high = now, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if line.gain(stage, middle / (stage.units or 1)) >= enough else (middle, high)
    return high


def _adapts(stage: StageSnapshot) -> bool:
    return stage.concurrency is not None and (stage.most is None or stage.most > stage.concurrency)


def _adapting(stage: StageSnapshot) -> str:
    if stage.pushed_back:
        return f"its server refused {stage.pushed_back} calls, so more slots would gain nothing"
    return f"it adapts itself, up to {stage.most} slots" if stage.most else "it adapts itself"


def _is_refused(resource: Capacity, window: Window) -> bool:
    return any(
        stage.pushed_back > 0
        for stage in window.counts.stages
        if resource.kind == "items" or stage.name == resource.name
    )


def _limit(limit: Capacity, line: Line) -> Advice:
    others, then = _without(line, limit)
    by = others / limit.rate if limit.rate < others < math.inf else HALF_AGAIN
    if by > _FARTHEST:
        by, then = _FARTHEST, None
    gain, now = line.stated_gain(limit, by), limit.units or 0.0
    start = f"{title(limit)} {_holds(limit)}: {_figure(now)} a second, {_percent(limit.utilization, sign=False)} used"
    if gain < _WORTH:
        return Advice(
            sentence=f"{start}; more slots would gain nothing",
            kind="limiter",
            name=limit.name,
            now=now,
            then=_name(then),
        )
    tail = "" if then is None else f", then {title(then)} does"
    up_to = by > _FAR
    gives = f"a limit of {_figure(now * by)} would give {'up to ' if up_to else ''}{_percent(gain)}"
    return Advice(
        sentence=f"{start}; more slots would gain nothing, {gives}{tail}",
        kind="limiter",
        name=limit.name,
        now=now,
        to=now * by,
        gain=gain,
        up_to=up_to,
        then=_name(then),
    )


def _sink(sink: Capacity, line: Line, window: Window) -> Advice:
    counts, share = window.counts.sink, _percent(sink.utilization, sign=False)
    others, then = _without(line, sink)
    gain = _stated(line, sink, others)
    if counts is None:
        why, more = f"{_blocked(window)} for it", "a faster one"
    else:
        rows = _figure(counts.outcomes / max(1, counts.commits))
        why, more = f"commits take {share} of the time, {rows} outcomes each", "larger batches or a faster one"
    tail = "would let more through" if gain is None else f"would give up to {_percent(gain)}"
    after = "" if then is None else f", then {title(then)} does"
    sentence = f"{title(sink)} {_holds(sink)}: {why}; {more} {tail}{after}"
    return Advice(sentence=sentence, kind="sink", name=sink.name, gain=gain, up_to=True, then=_name(then))


def _blocked(window: Window) -> str:
    last = window.counts.stages[-1]
    slots = window.slots(last)
    if not slots:
        return f"results of {last.name} wait"
    return f"{_percent(last.blocked / (slots * window.seconds), sign=False)} of the slots of {last.name} wait"


def _source(source: Capacity, line: Line) -> Advice:
    others, then = _without(line, source)
    gain = _stated(line, source, others)
    share = _percent(source.utilization, sign=False)
    start = f"{title(source)} {_holds(source)}: the stages wait for it {share} of the time"
    tail = "more slots would gain nothing"
    if others < math.inf:
        tail += f", a faster source would {'let more through' if gain is None else f'give up to {_percent(gain)}'}"
    after = "" if then is None else f", then {title(then)} does"
    return Advice(
        sentence=f"{start}; {tail}{after}", kind="source", name=source.name, gain=gain, up_to=True, then=_name(then)
    )


def _too_close(first: Capacity, second: Capacity, line: Line) -> Advice:
    names, gain = _joint_gain([first, second], line)
    most = "more" if len(names) == 2 else "most"
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    sentence = f"{listed} hold the others up; it is too close to call which {most}"
    if gain is not None and gain >= _WORTH:
        sentence += f"; half as much again of {_ALL[len(names)]} would give {_percent(gain)}"
    return Advice(sentence=sentence, kind=first.kind, name=first.name, gain=gain, other=second.name)


def _joint_gain(group: Sequence[Capacity], line: Line) -> tuple[list[str], float | None]:
    """Returns the titles of a few resources, and the gain of half as much again of each of them.

    If these resources alone gain little, the next ones are as narrow. The next ones join the group if all together
    gain much.
    """
    rest = sorted((one for one in line.resources if one.rate < math.inf and one not in group), key=lambda one: one.rate)
    groups = [[*group, *rest[:more]] for more in range(min(len(rest), max(_ALL) - len(group)) + 1)]
    gains = [_gain(one, line) for one in groups]
    place = next((place for place, gain in enumerate(gains) if gain is not None and gain >= _MUCH), 0)
    return [title(one) for one in groups[place]], gains[place]


def _gain(group: Sequence[Capacity], line: Line) -> float | None:
    """Returns the gain of half as much again of each resource; None if it cannot be told."""
    wider = line
    for one in group:
        same = next(each for each in wider.resources if (each.name, each.kind) == (one.name, one.kind))
        wider = wider.with_capacity(same, HALF_AGAIN)
    then, now = wider.rate(), line.rate()
    return then / now - 1 if now > 0 and then < math.inf else None


def _stated(line: Line, resource: Capacity, others: float) -> float | None:
    """Returns the gain if a resource does as much as all others can; None if that is too far off to tell."""
    return line.stated_gain(resource, others / resource.rate) if others <= _FARTHEST * resource.rate else None


def _without(line: Line, resource: Capacity) -> tuple[float, Capacity | None]:
    """Returns what all other resources could do, and which of them would hold the run up then."""
    free = replace(resource, rate=math.inf, units=None if resource.kind != "limiter" else math.inf)
    rest = Line([free if each is resource else each for each in line.resources], strategy=line.strategy)
    rate = rest.rate()
    bounded = [each for each in rest.resources if each is not free and each.rate < math.inf]
    following = min(bounded, key=lambda each: each.rate, default=None)
    return rate, following if rate < math.inf else None


def title(resource: Capacity) -> str:
    """Returns the words for a resource in a sentence."""
    names: dict[Kind, str] = {
        "limiter": f"the limit of {resource.name}",
        "sink": f"the {resource.name}",
        "source": "the source",
        "items": f"the bound on {ITEMS}",
    }
    return names.get(resource.kind, resource.name)


def _name(resource: Capacity | None) -> str | None:
    return None if resource is None else resource.name


def _holds(resource: Capacity) -> str:
    return "holds the stages up" if resource.kind in ("source", "sink", "items") else "holds the others up"


def _of(slots: int, resource: Capacity) -> str:
    return f"{slots} at once" if resource.kind == "items" else f"{slots} slot{'' if slots == 1 else 's'}"


def _busy(resource: Capacity) -> str:
    return f"{_percent(min(1.0, resource.utilization), sign=False)} busy"


def _percent(share: float, *, sign: bool = True) -> str:
    return f"{share:+.0%}" if sign else f"{min(1.0, share):.0%}"


def _figure(number: float) -> str:
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"
