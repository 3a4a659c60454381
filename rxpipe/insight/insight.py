"""All findings from the snapshots of a run. The terminal, reports, JSON, the page and health show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from rxpipe.insight.advice import Advice, advice_of
from rxpipe.insight.bottleneck import Bottleneck, analysis_of
from rxpipe.insight.capacity import Capacity
from rxpipe.insight.checks import Check, checks_of
from rxpipe.insight.finding import Finding
from rxpipe.insight.snapshot import Snapshot
from rxpipe.insight.stalls import Stall, stalls_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """All findings from a run's snapshots.

    Attributes:
        bottleneck: What holds the run up.
        advice: What to change, and what the change gains. ``advice.sentence`` sums it up.
        stalls: What stands still now.
        capacities: The capacity of each stage, limit, sink and source, in order.
        checks: Checks of the numbers against each other.
        seconds: The length of the part of the run that was analysed, in seconds; None if there is none yet.
        rate: Items per second in that part; None if there is none yet.
    """

    bottleneck: Bottleneck
    advice: Advice
    stalls: tuple[Stall, ...] = ()
    capacities: tuple[Capacity, ...] = ()
    checks: tuple[Check, ...] = ()
    seconds: float | None = None
    rate: float | None = None

    @property
    def finding(self) -> Finding:
        """The finding that is kept when the run is over."""
        is_found = self.bottleneck.verdict == "found"
        return Finding(
            verdict=self.bottleneck.verdict,
            kind=self.bottleneck.kind if is_found else None,
            name=self.bottleneck.name if is_found else None,
            sentence=self.advice.sentence,
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the insight as JSON data. Infinite numbers become null."""
        data: dict[str, Any] = _finite(asdict(self))
        return data


def insight_of(snapshots: Sequence[Snapshot]) -> Insight:
    """Returns all findings from the snapshots of one run.

    ::

        history = History()
        run.snapshots(1.0).subscribe(lambda snapshot: print(insight_of(history.add(snapshot)).advice.sentence))

    Args:
        snapshots: The snapshots, the latest last. ``History`` keeps as many as are useful.
    """
    analysis = analysis_of(snapshots)
    window = analysis.window
    return Insight(
        bottleneck=analysis.bottleneck,
        advice=advice_of(analysis),
        stalls=stalls_of(snapshots),
        capacities=() if analysis.line is None else analysis.line.resources,
        checks=() if window is None else checks_of(window, snapshots),
        seconds=None if window is None else window.seconds,
        rate=None if window is None else window.rate,
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in cast("Sequence[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
