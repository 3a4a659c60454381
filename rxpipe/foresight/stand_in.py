"""A stand-in for a pipeline that is not available, made from a run's numbers and some of its calls."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from rxpipe.errors import ConfigError
from rxpipe.foresight.calls.record import RecordedCall, RecordedRun
from rxpipe.foresight.virtual.copies import pipeline_of, stage_of
from rxpipe.insight.reading import Bar
from rxpipe.insight.snapshot import LimiterSnapshot, Snapshot, StageSnapshot
from rxpipe.operators.stages.limiter import AllOf, Limiter, RateLimiter
from rxpipe.operators.stages.options import Batch
from rxpipe.operators.stages.retry_policy import Retry
from rxpipe.pipeline.pipeline import Pipeline

QUEUE = 10  # the default of a stage
AT_ONCE = "items at once"  # the name of the setting of strategy per_item
_PASSES = 0.97  # share of the items: a stage that is called with fewer lets the others pass
_CHILDREN = 20  # number of different counts of children
_MANY = 10_000  # slots of a stage without a bound
_LONGEST = 60.0  # seconds: the longest retry delay that is believed


@dataclass(slots=True)
class StandIn:
    """Makes pipelines that resemble that of a run.

    Attributes:
        snapshot: The run's numbers.
        calls: Some of the run's calls.
        record: The record that simulations draw from: the calls, the items that pass stages, and the children.
    """

    snapshot: Snapshot
    calls: Sequence[RecordedCall]
    record: RecordedRun = field(init=False)

    def __post_init__(self) -> None:
        stages = self.snapshot.stages
        self.record = RecordedRun(
            calls=self.calls,
            children={one.name: _children(one) for one in stages if one.spawned},
            passed={one.name: passed for one in stages if (passed := self._passed(one))},
        )

    def _passed(self, stage: StageSnapshot) -> frozenset[str]:
        """Returns made-up IDs for the items that pass a stage without a call, in the observed proportion."""
        called = len({call.item for call in self.calls if call.stage == stage.name})
        came = self._came()[stage.name]
        share = (stage.finished + stage.running + stage.waiting) / came if came else 1.0
        if share >= _PASSES or self._collects(stage):
            return frozenset()
        return frozenset(f"passed {number}" for number in range(round(called * (1 / max(share, 0.01) - 1))))

    def _came(self) -> dict[str, float]:
        came: dict[str, float] = {}
        coming = float(self.snapshot.taken)
        for one in self.snapshot.stages:
            inside = one.running + one.waiting + one.blocked_now
            came[one.name] = max(coming, one.finished + one.running + one.waiting)
            gone = came[one.name] - one.failed - one.dropped - one.sent_back - inside
            coming = max(0.0, float(one.spawned) if one.spawned else gone)
        return came

    def pipeline(self, settings: Mapping[str, float]) -> Pipeline[Any, Any]:
        """Returns a pipeline with some settings changed. Its functions must not be called.

        Raises:
            ConfigError: The numbers make no pipeline.
        """
        limits = {
            one.name: RateLimiter(1, _calls_unit(one, self.snapshot) / settings.get(one.name, one.rate))
            for one in self.snapshot.limiters
            if one.rate > 0
        }
        stages = [
            stage_of(
                one.name,
                concurrency=round(settings.get(one.name, one.concurrency or _MANY)),
                queue_size=QUEUE,
                retry=self._retry(one),
                rate_limit=_limiter([limits[name] for name in one.limiters if name in limits]),
                expand=bool(one.spawned),
                collect=self._collects(one),
                batch=self._batch(one),
            )
            for one in self.snapshot.stages
        ]
        at_once = max((one.concurrency or 1 for one in self.snapshot.stages), default=1)
        try:
            return pipeline_of(
                stages, strategy=self.snapshot.strategy, concurrency=round(settings.get(AT_ONCE, at_once))
            )
        except ValueError as error:
            raise ConfigError(f"the run cannot be simulated from its numbers: {error}") from None

    def _retry(self, stage: StageSnapshot) -> Retry | None:
        if not stage.retried + stage.pushed_back:
            return None
        calls = sorted((call for call in self.calls if call.stage == stage.name), key=lambda call: call.began)
        last: dict[str, RecordedCall] = {}
        gaps: list[float] = []
        for call in calls:
            before = last.get(call.item)
            if before is not None and before.ended in ("retried", "pushed_back"):
                gaps.append(max(0.0, call.began - before.until))
            last[call.item] = call
        delay = median(gaps) if gaps else 1.0
        most = max((call.attempt for call in calls), default=1)
        return Retry(max_attempts=max(2, most), initial=min(delay, _LONGEST))

    def _collects(self, stage: StageSnapshot) -> bool:
        """Returns True if the stage is called with parents of items that an earlier stage has made."""
        before: set[str] = set()
        for one in self.snapshot.stages:
            if one.name == stage.name:
                break
            if one.spawned:
                before |= {call.item for call in self.calls if call.stage == one.name}
        return bool(before & {call.item for call in self.calls if call.stage == stage.name})

    def _batch(self, stage: StageSnapshot) -> Batch | None:
        """Returns the stage's batch option if several items shared a call; otherwise None."""
        if stage.spawned or self._collects(stage):
            return None
        sizes = Counter((call.began, call.seconds) for call in self.calls if call.stage == stage.name)
        most = max(sizes.values(), default=1)
        return Batch(max_items=most) if most > 1 else None


def _children(stage: StageSnapshot) -> dict[str, int]:
    mean = stage.spawned / max(1, stage.done)
    return {f"parent {place}": int(mean + place / _CHILDREN) for place in range(_CHILDREN)}


def _calls_unit(limit: LimiterSnapshot, snapshot: Snapshot) -> float:
    """Returns how many units of a limit a call takes on average."""
    if limit.unit == "calls":
        return 1.0
    calls = sum(stage.calls for stage in snapshot.stages if limit.name in stage.limiters)
    return max(1e-9, limit.taken / calls) if calls and limit.taken else 1.0


def _limiter(limits: Sequence[RateLimiter]) -> Limiter | None:
    if not limits:
        return None
    return limits[0] if len(limits) == 1 else AllOf(*limits)


def calls_of_bars(bars: Sequence[Bar]) -> list[RecordedCall]:
    """Makes recorded calls from the bars of a timeline, and numbers the attempts of each item."""
    attempts: defaultdict[tuple[str, str], int] = defaultdict(int)
    found: list[RecordedCall] = []
    for bar in sorted(bars, key=lambda bar: bar.began):
        place = str(bar.item), bar.stage
        attempts[place] += bar.ended != "pushed_back"
        call = RecordedCall(place[0], bar.stage, max(1, attempts[place]), bar.began, bar.seconds, bar.ended)
        if bar.ended in ("ok", "dropped", "sent_back", "failed"):
            attempts[place] = 0
        found.append(call)
    return found
