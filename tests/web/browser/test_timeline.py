"""The timeline as it is drawn: its areas are the seconds in which calls ran, and words say what is left out."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from rxpipe.insight.reading import RunRow
from web.fake_figures import FINISHED, LIVE, STAGES
from web.fake_runs import FakeRuns

from .visits import Made, in_browser

pytestmark = in_browser

BAND = 44.0  # pixels of a band in which all slots are taken


def drawn_seconds(page: Any, index: int, seconds: float) -> float:
    """What the area of a stage's band stands for: so many calls, for so long."""
    area = page.locator(f"path.area.c{index}")
    room = page.locator("rect.room").nth(index)
    low = float(room.get_attribute("y")) + float(room.get_attribute("height"))
    wide = float(room.get_attribute("width"))
    steps = re.findall(r"([MHV])([\d.]+)", area.get_attribute("d"))
    heights: list[tuple[float, float]] = []
    x = y = 0.0
    for command, value in steps:
        x, y = (float(value), y) if command != "V" else (x, low - float(value))
        heights.append((x, 0.0 if command == "M" else y))
    pixels = sum((after - before) * height for (before, height), (after, _) in pairwise(heights))
    return pixels / wide * seconds / BAND * STAGES[index][1]


@pytest.mark.parametrize(("seconds", "parts"), [(20.0, 1), (400.0, 600)])
def test_areas_are_the_seconds_of_all_calls(visit: Made, runs: FakeRuns, seconds: float, parts: int) -> None:
    """Whether each call is drawn by itself, or means of many."""
    page = visit().open(f"#/runs/{FINISHED}/timeline?since=100&seconds={seconds:.0f}")
    page.get_by_role("row").nth(1).wait_for()
    told = runs.timeline(FINISHED, since=100.0, seconds=seconds)
    assert told.is_cut is (parts > 1)
    assert told.heights is not None
    for index, heights in enumerate(told.heights):
        busy = sum(heights.running) * seconds / 600
        assert drawn_seconds(page, index, seconds) == pytest.approx(busy, rel=0.02)
    listed = page.locator("section[aria-labelledby=longest] .soft").inner_text()
    if told.is_cut:
        assert listed == f"2,000 of {told.calls:,}"
        page.get_by_text(f"{told.calls:,} calls ran here: heights are means over").wait_for()
    else:
        assert listed == f"{told.calls:,}"
        assert page.get_by_text("heights are means").count() == 0


def test_too_many_calls_to_add_up(visit: Made, runs: FakeRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heights are those of the run's snapshots: means, too; up to the newest, though signs of life are rarer."""
    runs.most_read = 100
    answer = runs.run

    def run(number: int) -> RunRow | None:
        row = answer(number)
        return None if row is None else replace(row, active_at=row.began_at + 1.0)

    monkeypatch.setattr(runs, "run", run)
    page = visit().open(f"#/runs/{LIVE}/timeline")
    page.get_by_text("means from one of the run's snapshots to the next").wait_for()
    page.get_by_text("Calls that have not ended yet are not drawn").wait_for()
    for index in range(len(STAGES)):
        seconds = runs.clock()
        busy = runs.snapshots(LIVE)[-1].stages[index].busy
        assert drawn_seconds(page, index, seconds) == pytest.approx(busy, rel=0.05)
