"""Where a live run stands: the items in each stage, and the items to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rxpipe.foresight.live.live_calls import StageCalls, calls_of
from rxpipe.insight.snapshot import Snapshot, StageSnapshot
from rxpipe.operators.stages.times import Attempt, Standing
from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.plan import Plan, roles_of

_MOST_BACK = 0.9  # the largest share of items sent back: with more, a run would not come to an end


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingItems:
    """The items that are in a stage.

    Attributes:
        running: The items in a call: how long the call has been running, in seconds, and the attempt's number.
        delayed: The items that wait for their next attempt: the delay in seconds, and the attempt's number.
        waiting: The number of items that wait for a slot.
        held: The number of items that have been through the stage, and wait for room in the next one.
        arriving: The number of items that the cache looks up before they enter the stage.
    """

    running: tuple[Attempt, ...] = ()
    delayed: tuple[Attempt, ...] = ()
    waiting: int = 0
    held: int = 0
    arriving: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """A run at one moment, in the form that a simulation continues from.

    Attributes:
        stages: The items in each stage.
        calls: What is known of each stage's calls.
        slots: How many calls of each stage may run at once now; None for no bound.
        coming: The number of items still to be taken from the source; None for as many as are needed.
        missing: The number of rows still to be written; None for no target.
        rows: The mean number of rows that a taken item becomes.
        visits: The mean number of items that each stage is called with, per taken item.
        ends_early: The share of children in flight that end in their parent early, by the index of the stage before the
            one that collects them.
    """

    stages: tuple[StandingItems, ...]
    calls: tuple[StageCalls, ...]
    slots: tuple[int | None, ...]
    coming: int | None
    missing: int | None
    rows: float
    visits: tuple[float, ...]
    ends_early: dict[int, float]

    @property
    def in_flight(self) -> int:
        """The number of items in the stages."""
        return sum(len(one.running) + len(one.delayed) + one.waiting + one.held + one.arriving for one in self.stages)


def present_of(
    plan: Plan, snapshot: Snapshot, counts: Snapshot, standing: Sequence[Standing], total: int | None
) -> Present | None:
    """Returns where a run stands.

    Args:
        plan: The pipeline of the run.
        snapshot: The run's numbers now.
        counts: The numbers that rates and shares are taken from: those of a part of the run, or of all of it.
        standing: The calls of each stage.
        total: How many items the source has; None if unknown.

    Returns:
        The present state; None if it is not known how much is to come.
    """
    missing = None
    if snapshot.until is not None:
        missing = max(0, snapshot.until - snapshot.written_before - snapshot.written)
    coming: int | None = None
    if snapshot.source.is_over:
        coming = 0
    elif total is not None and not (_expands(plan) and snapshot.written_before + snapshot.failed_before):
        coming = max(0, total - snapshot.written_before - snapshot.failed_before - snapshot.taken)
    elif missing is None:
        return None
    came, left = _ways(plan, snapshot)
    calls = tuple(
        calls_of(
            stage,
            one,
            snapshot.stages[place],
            [attempt.seconds for attempt in standing[place].running],
            called=_called(stage, snapshot.stages[place], came[place]),
            targets=_targets(plan, snapshot, left, place),
        )
        for place, (stage, one) in enumerate(zip(plan.stages, counts.stages, strict=True))
    )
    visits = _visits(plan, calls)
    return Present(
        stages=_standing(plan, snapshot, standing),
        calls=calls,
        slots=tuple(stage.concurrency for stage in snapshot.stages),
        coming=coming,
        missing=missing,
        rows=visits[-1],
        visits=tuple(
            visit * one.called * again for visit, one, again in zip(visits, calls, _rounds(plan, calls), strict=False)
        ),
        ends_early=_ends_early(plan, snapshot),
    )


def _expands(plan: Plan) -> bool:
    """Returns True if a stage expands. Then items that ended before may be children, and the rest is not known."""
    return any(stage.expand for stage in plan.stages)


def _inside(stage: StageSnapshot) -> int:
    return stage.running + stage.waiting + stage.blocked_now


def _ways(plan: Plan, counts: Snapshot) -> tuple[list[float], list[float]]:
    """Returns how many items came to each stage, and how many left it for the next one."""
    came: list[float] = []
    left: list[float] = []
    coming = float(counts.taken)
    for stage, one in zip(plan.stages, counts.stages, strict=True):
        taken = one.finished + one.running + one.waiting + one.cached
        came.append(max(coming - one.arriving, taken))
        gone = came[-1] - one.failed - one.dropped - one.sent_back - _inside(one)
        coming = max(0.0, float(one.spawned) if stage.expand else float(one.done) if stage.collect else gone)
        left.append(coming)
    return came, left


def _called(stage: Any, one: StageSnapshot, came: float) -> float:
    if (stage.when is None and not one.cached) or came <= 0:
        return 1.0
    return min(1.0, (one.finished + one.running + one.waiting) / came)


def _targets(plan: Plan, counts: Snapshot, left: Sequence[float], place: int) -> list[str]:
    """Returns the stages that a stage sends items back to: those called with more items than came from before."""
    if not counts.stages[place].sent_back:
        return []
    found: list[str] = []
    before = float(counts.taken)
    for index in range(place + 1):
        one = counts.stages[index]
        if one.finished + one.running + one.waiting > before + 0.5:
            found.append(one.name)
        before = left[index]
    return found or [plan.stages[0].name]


def _visits(plan: Plan, calls: Sequence[StageCalls]) -> list[float]:
    """Returns how many items come to each stage, and to the end, per taken item."""
    visits = [1.0]
    before: list[float] = []
    for stage, one in zip(plan.stages, calls, strict=True):
        visit = visits[-1]
        if stage.expand:
            before.append(visit * one.passed)
            visits.append(visit * one.passed * one.children)
        elif stage.collect and before:
            visits.append(before.pop() * one.passed)
        else:
            visits.append(visit * one.passed)
    return visits


def _rounds(plan: Plan, calls: Sequence[StageCalls]) -> list[float]:
    """Returns how often an item comes to each stage, as later stages send items back."""
    names = [stage.name for stage in plan.stages]
    rounds = [1.0] * len(calls)
    for sender, one in enumerate(calls):
        back = min(_MOST_BACK, one.sent_back * one.attempts)
        for target in one.targets if back else ():
            for place in range(names.index(target), sender + 1):
                rounds[place] *= 1 + back / (1 - back) / len(one.targets)
    return rounds


def _standing(plan: Plan, snapshot: Snapshot, standing: Sequence[Standing]) -> tuple[StandingItems, ...]:
    found: list[StandingItems] = []
    for one, calls in zip(snapshot.stages, standing, strict=True):
        running = calls.running or [Attempt(0.0, 1)] * min(1, one.running)
        while len(running) < one.running:  # several items share a call
            running = [*running, *running[: one.running - len(running)]]
        delayed = calls.delayed[: one.waiting]
        found.append(
            StandingItems(
                running=tuple(running[: one.running]),
                delayed=tuple(delayed),
                waiting=one.waiting - len(delayed),
                held=one.blocked_now,
                arriving=one.arriving,
            )
        )
    if snapshot.strategy == "staged":
        _, left = _ways(plan, snapshot)
        for place in range(len(found) - 1):
            behind = snapshot.stages[place + 1]
            between = left[place] - (behind.finished + behind.cached + behind.arriving + _inside(behind))
            if between > 0:
                found[place] = replace(found[place], held=found[place].held + round(between))
    return tuple(found)


def _ends_early(plan: Plan, snapshot: Snapshot) -> dict[int, float]:
    """Returns the share of children in flight that end in their parent, as one of them stands for the parent."""
    found: dict[int, float] = {}
    for role in roles_of(plan):
        if role.collects is None:
            continue
        children = sum(_inside(one) for one in snapshot.stages[role.collects + 1 : role.index])
        if children:
            found[role.index - 1] = max(0.0, 1 - snapshot.waiting_for_children / children)
    return found


def claim_of(number: int, finished: int) -> Claim:
    """Returns a simulated item that has been through ``finished`` stages."""
    return Claim(
        id=number,
        key="",
        owner="",
        fence=0,
        stage=finished,
        finished=finished,
        value=number,
        inputs=[number] * finished,
    )
