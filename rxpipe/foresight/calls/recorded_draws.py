"""Makes the draws of a simulation from the recorded calls of a run."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import NormalDist, median

from rxpipe.foresight.calls.draws import StageDraws
from rxpipe.foresight.calls.further_attempts import FurtherAttempts, is_failure
from rxpipe.foresight.calls.load import FoundLoad, Levels, Load, distinct, works_of
from rxpipe.foresight.calls.record import Draw, RecordedCall, RecordedRun, items_of
from rxpipe.foresight.calls.refusals import Rate
from rxpipe.operators.stages.call import TICK

_SAME = 1.01  # ratio: failed calls whose seconds are nearly the longest time were ended by a timeout
_LATE = 0.05  # seconds by which a timeout may be late
_LEAST_ENDED = 3  # the fewest calls from which an unknown timeout is inferred
_TAIL = 40  # different durations that replace the calls that were cut off
_USUAL = 0.9  # the share of calls, from the shortest on, that show the shape of the distribution
_SMALL = 1e-3


def recorded_draws(
    record: RecordedRun, timeouts: Mapping[str, float | None], load: Load | None
) -> dict[str, StageDraws]:
    """Returns the draws of each stage by its name. Stages without recorded calls are left out.

    Args:
        record: The recorded calls.
        timeouts: The timeout in seconds of each stage, by the stage's name. The recorded calls may have had it, too.
        load: How the server slowed down while the calls were made.
    """
    by_stage = record.by_stage()
    levels = Levels(distinct(record.calls))
    found: dict[str, StageDraws] = {}
    for name, timeout in timeouts.items():
        if calls := by_stage.get(name):
            found[name] = _of_stage(name, calls, record, works_of(calls, load, levels), timeout)
    return found


def _of_stage(
    name: str, calls: Sequence[RecordedCall], record: RecordedRun, works: Sequence[float], timeout: float | None
) -> StageDraws:
    refused = [call.seconds for call in calls if call.ended == "pushed_back"]
    made = [(call, work) for call, work in zip(calls, works, strict=True) if call.ended != "pushed_back"]
    timeouts = [one for one in (record.timeouts.get(name), timeout) if one]
    free = {
        run: _Freed([each for each in made if each[0].run == run], timeouts) for run in {call.run for call in calls}
    }
    sizes = Counter((call.began, call.seconds) for call, _ in made)
    per_item = _per_item(sizes)
    pools: tuple[list[Draw], list[Draw], list[Draw]] = [], [], []
    own: defaultdict[str, list[Draw]] = defaultdict(list)
    children = record.children.get(name, {})
    rounds: Counter[str] = Counter()
    ends: defaultdict[int, list[bool]] = defaultdict(list)
    for place, (call, work) in enumerate(made):
        seconds, ended = free[call.run].of(call, work, place)
        draw = Draw(seconds / (1 + per_item * (sizes[call.began, call.seconds] - 1)), ended, call.usage)
        pools[1 if call.attempt > 1 else 2 if rounds[call.item] else 0].append(draw)
        ends[call.attempt].append(is_failure(draw))
        if not rounds[call.item]:
            own[call.item].append(draw)
        if (call.attempt == 1 and call.ended == "sent_back") or call.ended in ("ok", "sent_back", "dropped"):
            rounds[call.item] += 1
    called = len({call.item for call in calls})
    passed = record.passed.get(name, ())
    return StageDraws(
        first=pools[0] or [draw for pool in pools for draw in pool],
        later=pools[1],
        further=_further(ends),
        again=pools[2],
        own=dict(own),
        refused=(len(refused) / len(calls), median(refused)) if refused else (0.0, 0.0),
        called=called / (called + len(passed)),
        passed=passed,
        children=list(children.values()),
        own_children=children,
        targets=_targets(name, record),
        per_item=per_item,
    )


def _further(ends: Mapping[int, Sequence[bool]]) -> FurtherAttempts | None:
    """Returns how likely further attempts fail; None if there are no further attempts.

    Args:
        ends: For each attempt number, a list that says for each call whether it failed.
    """
    counts = [
        (sum(ends.get(attempt, ())), len(ends.get(attempt, ()))) for attempt in range(1, max(ends, default=1) + 1)
    ]
    return FurtherAttempts.of(counts) if len(counts) > 1 else None


def _cut_off(calls: Sequence[RecordedCall], timeouts: Iterable[float]) -> float:
    """Returns the seconds after which a timeout ended calls; ``inf`` if no call was ended.

    Args:
        calls: The calls of a stage.
        timeouts: Possible timeouts in seconds.
    """
    longest = max((call.seconds for call in calls), default=0.0)
    for timeout, least in (*((each, 1) for each in timeouts), (longest / _SAME, _LEAST_ENDED)):
        late = [call for call in calls if call.seconds >= timeout - TICK]
        if (
            len(late) >= least
            and all(call.ended in ("retried", "failed") for call in late)
            and longest <= timeout * _SAME + _LATE
        ):
            return timeout
    return math.inf


class _Freed:
    """Estimates how calls would have ended without the timeout and the number of attempts of their run.

    The seconds of a call that a timeout ended are drawn from a lognormal distribution that fits the other calls. If the
    timeout ended more calls than the distribution explains, the surplus calls are never answered.
    """

    def __init__(self, made: Sequence[tuple[RecordedCall, float]], timeouts: Iterable[float]) -> None:
        self._most = max((call.attempt for call, _ in made), default=1)
        self._cut = cut = _cut_off([call for call, _ in made], timeouts)
        ended = sum(_is_cut(call, cut) for call, _ in made)
        self._hung = 1.0
        self._shape: tuple[float, float] | None = None
        good = sorted(work for call, work in made if not _is_cut(call, cut) and work > 0)
        if not ended or len(good) < _TAIL:
            return
        share = len(good) / (len(good) + ended)
        normal = NormalDist()
        low, high = 0.5 * share, _USUAL * share
        at_low, at_high = (good[min(len(good) - 1, int(one * len(good)))] for one in (0.5, _USUAL))
        spread = math.log(at_high / at_low) / (normal.inv_cdf(high) - normal.inv_cdf(low))
        if spread <= 0:
            return
        middle = math.log(at_low) - spread * normal.inv_cdf(low)
        beyond = 1 - NormalDist(middle, spread).cdf(math.log(cut))
        self._hung = max(0.0, 1 - beyond / max(1 - share, 1e-9))
        self._shape = middle, spread

    def of(self, call: RecordedCall, work: float, place: int) -> tuple[float, str]:
        """Returns the seconds of a call without the timeout, and how the call ends.

        A last attempt that failed ends as ``retried``, as another policy may allow more attempts.
        """
        if not _is_cut(call, self._cut):
            return work, "retried" if call.ended == "failed" and call.attempt == self._most else call.ended
        share = (place * 0.6180339887498949) % 1  # evenly spread, for any number of calls
        if self._shape is None or share < self._hung:
            return math.inf, "ok"
        normal = NormalDist(*self._shape)
        least = normal.cdf(math.log(self._cut))
        within = (share - self._hung) / (1 - self._hung) if self._hung < 1 else 0.5
        level = min(1 - 1e-9, least + (1 - least) * within)
        return math.exp(normal.inv_cdf(level)), "ok"


def _is_cut(call: RecordedCall, cut: float) -> bool:
    return call.seconds >= cut - TICK and call.ended in ("retried", "failed")


def _targets(name: str, record: RecordedRun) -> list[str]:
    """Returns the stages that items were sent back to: the stage of each item's next call."""
    if not any(call.stage == name and call.ended == "sent_back" for call in record.calls):
        return []
    found: list[str] = []
    for calls in items_of(sorted(record.calls, key=lambda call: call.began)).values():
        for call, following in pairwise(calls):
            if call.stage == name and call.ended == "sent_back":
                found.append(following.stage)
    return found


def _per_item(sizes: Mapping[tuple[float, float], int]) -> float:
    """Returns the seconds of each further item in a batch, as a share of those of a call with one, by least squares.

    Args:
        sizes: The number of items of each call, by its start and its seconds.
    """
    if max(sizes.values(), default=1) < 2 or len(sizes) < 2:
        return 0.0
    count = len(sizes)
    mean_size = sum(sizes.values()) / count
    mean_seconds = sum(seconds for _, seconds in sizes) / count
    varied = sum((size - mean_size) ** 2 for size in sizes.values())
    if varied <= 0:
        return 0.0
    both = sum((size - mean_size) * (key[1] - mean_seconds) for key, size in sizes.items())
    slope = max(0.0, both / varied)
    one = mean_seconds - slope * (mean_size - 1)
    return slope / one if one > _SMALL * mean_seconds else 0.0


def assumptions(record: RecordedRun, load: FoundLoad, rate: Rate | None) -> list[str]:
    """Returns what a forecast assumes, one sentence each."""
    found = [f"the record has {len(record.calls):,} calls, at most {load.most:,} at once"]
    if load.load is not None:
        found.append(f"calls slow each other down if more than {load.load.knee:.0f} run at once, as in the record")
    if rate is not None:
        found.append(f"the server refuses what is beyond {rate.rate:,.3g} {rate.unit} a second, as in the record")
    return found
