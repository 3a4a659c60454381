"""Simulates a run with other settings for the page, from the run's numbers and its recorded calls.

A request takes at most about half a second of one processor, and requests run one at a time. So the page delays a run
in the same process by no more than that, and its users can keep at most one processor busy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyio import CapacityLimiter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rxpipe.errors import ConfigError
from rxpipe.foresight.stand_in import calls_of_bars
from rxpipe.foresight.what_if import Point, WhatIf
from rxpipe.insight.reading import Bar
from rxpipe.insight.snapshot import Snapshot
from rxpipe.insight.window import settled
from rxpipe.web.all_runs import AllRuns
from rxpipe.web.api import Api, json_response
from rxpipe.web.json_values import Plain
from rxpipe.web.parameters import BadRequest, number, whole

_WAITING = 4  # the most requests that wait
_KEPT = 4  # the most runs that are kept
_CURVES = 32  # the most curves that are kept of each run
_FRESH = 30.0  # seconds for which the numbers of a live run are used
_CALLS = 2_500  # calls that simulations draw from
_MOST_ASKED = 20_000  # the most calls that are read: the work of some hundred milliseconds
_SEEN = 120  # snapshots of a run that are read
_MOST_SET = 200  # the most settings


@dataclass(slots=True)
class _Known:
    """A run that was asked for, with its curves."""

    snapshot: Snapshot
    what_if: WhatIf
    curves: OrderedDict[tuple[Any, ...], list[Point]] = field(default_factory=OrderedDict[tuple[Any, ...], list[Point]])


class Predictions:
    """Answers what a run would do with other settings."""

    def __init__(self, runs: AllRuns, plain: Plain, api: Api) -> None:
        """Creates the answers.

        Args:
            runs: The runs.
            plain: Makes plain values.
            api: Runs the simulations on its threads, and reports what they raise.
        """
        self._runs = runs
        self._plain = plain
        self._api = api
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._one: CapacityLimiter | None = None

    def routes(self) -> list[Route]:
        """Returns the routes of predictions, below ``api``."""
        return [Route("/runs/{run:int}/whatif", self._answer, methods=["GET"])]

    async def _answer(self, request: Request) -> Response:
        if self._one is None:
            self._one = CapacityLimiter(1)
        if self._one.statistics().tasks_waiting >= _WAITING:
            raise HTTPException(503, "others are being told already; try again soon", {"retry-after": "2"})
        async with self._one:
            return await self._api.on_thread(lambda: self._told(request))

    def _told(self, request: Request) -> Response:
        run: int = request.path_params["run"]
        vary = request.query_params.get("vary")
        try:
            known = self._of(run)
            now = self._now(run, known.snapshot)
            told: dict[str, Any] = {"settings": self._plain.value(known.what_if.settings), "now": now}
            if vary is not None:
                place = whole("vary", vary, 1, most=_MOST_SET)
                told |= self._curve(known, place, request.query_params.getlist("set"), now)
        except ConfigError as error:
            return json_response({"settings": [], "why": self._plain.redact.cut(str(error), 300)})
        return json_response(told)

    def _curve(self, known: _Known, vary: int, given: Sequence[str], now: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the points of one setting. Settings are numbered from 1; ``given`` has other changed settings."""
        settings = known.what_if.settings
        if vary > len(settings) or len(given) > len(settings):
            raise BadRequest("there is no such setting")
        changed: dict[str, float] = {}
        for one in given:
            place, _, value = one.partition(":")
            index = whole("set", place, 1, most=_MOST_SET)
            if index > len(settings):
                raise BadRequest("there is no such setting")
            setting = settings[index - 1]
            found = number("set", value, least=setting.least, most=setting.most)
            if found is not None and index != vary:
                changed[setting.name] = found
        key = (vary, *sorted(changed.items()))
        points = known.curves.get(key)
        if points is None:
            points = known.curves[key] = known.what_if.curve(settings[vary - 1].name, changed)
            while len(known.curves) > _CURVES:
                known.curves.popitem(last=False)
        return {"vary": vary, "points": [_point(one, now) for one in points]}

    def _of(self, run: int) -> _Known:
        row, snapshot = self._runs.now(run)
        reader = self._runs.reader
        if row is None or reader is None:
            raise HTTPException(404, "there is no such run in a store")
        if snapshot is None:
            raise ConfigError("no numbers were kept of this run")
        known = self._known.get(run)
        if known is None or snapshot.at - known.snapshot.at > _FRESH or snapshot.state != known.snapshot.state:
            seconds = _CALLS / max(1, sum(stage.calls for stage in snapshot.stages)) * max(snapshot.elapsed, 1e-3)
            since = max(0.0, (snapshot.elapsed - seconds) / 2)
            told = reader.timeline(run, since=since, seconds=max(seconds, 1e-3), most=_MOST_ASKED, parts=1)
            known = self._known[run] = _Known(snapshot, WhatIf(snapshot, calls_of_bars(_without_gaps(told.bars))))
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known

    def _now(self, run: int, snapshot: Snapshot) -> dict[str, Any]:
        """Returns how fast a run goes and how long it still takes; for a run that is over, how long it took."""
        is_over = snapshot.state not in ("running", "stopping")
        window = None if is_over else settled(self._runs.history(run, _SEEN))
        rate = snapshot.ended / snapshot.elapsed if snapshot.elapsed > 0 else 0.0
        if window is not None:
            rate = window.counts.ended / window.seconds
        return {"rate": rate, "seconds": _left(snapshot, rate, is_over=is_over), "is_over": is_over}


def _without_gaps(bars: Sequence[Bar]) -> Sequence[Bar]:
    """Returns the bars in the middle: enough for simulations, and all bars of that time."""
    first = max(0, len(bars) - 2 * _CALLS) // 2
    return bars[first : first + 2 * _CALLS]


def _left(snapshot: Snapshot, rate: float, *, is_over: bool) -> float | None:
    if is_over:
        return snapshot.elapsed
    outlook = None if snapshot.outlook is None else snapshot.outlook.later(snapshot.elapsed)
    if outlook is not None:
        return outlook.seconds.middle
    total, before = snapshot.until or snapshot.source.length, snapshot.written_before + snapshot.failed_before
    if total is None or rate <= 0 or snapshot.spawned:
        return None
    return max(0.0, total - before - snapshot.ended) / rate


def _point(point: Point, now: Mapping[str, Any]) -> dict[str, Any]:
    times, seconds = point.times, now["seconds"]
    rate = {name: getattr(times, name) * now["rate"] for name in ("low", "middle", "high")}
    left = None
    if seconds is not None and times.low > 0:
        left = {"low": seconds / times.high, "middle": seconds / times.middle, "high": seconds / times.low}
    return {"value": point.value, "rate": rate, "seconds": left}
