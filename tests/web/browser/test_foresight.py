"""What is left of a run, and what other settings would bring."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from web.fake_figures import HOSTILE, LIVE

from .visits import Made, changes, in_browser

SHOTS = os.environ.get("RXPIPE_SCREENSHOTS")

pytestmark = in_browser


def test_what_is_left(visit: Made) -> None:
    """In the figures and beside the chart, with how sure that is."""
    page = visit().open(f"#/runs/{LIVE}")
    figures = page.locator("dl.figures")
    figures.get_by_text("left, about").wait_for()
    assert re.search(r"left, about\s+3\.5 min\s+2\.5 to 5", figures.inner_text())
    assert re.search(r"will cost about\s+9\.20\s+8\.70 to 9\.90", figures.inner_text())
    page.locator("figure[aria-labelledby=throughput] .ends").get_by_text(
        re.compile(r"\(\d+:\d\d to \d+:\d\d\)")
    ).wait_for()
    assert page.locator("figure[aria-labelledby=latency] .ends").count() == 0


def opened(page: Any) -> Any:
    """The panel with its first curve."""
    panel = page.locator("section[aria-labelledby=what-if]")
    panel.locator("summary").first.focus()
    page.keyboard.press("Enter")
    panel.locator("svg.curve").wait_for()
    return panel


def test_sliders_by_keyboard(visit: Made) -> None:
    """Each tells at once what it would bring; another one is simulated first."""
    page = visit().open(f"#/runs/{LIVE}")
    panel = opened(page)
    told = panel.locator(".prediction")
    assert re.search(r"generation, 8 slots: 7\.\d+/s .* left, as it is now", told.inner_text())
    slider = panel.get_by_role("slider", name="answering")
    slider.focus()
    told.get_by_text(re.compile(r"answering, 14 slots: 7\.\d+/s")).wait_for()
    before = told.inner_text()
    page.keyboard.press("ArrowLeft")
    told.get_by_text(re.compile("answering, 13 slots: ")).wait_for()
    assert told.inner_text() != before
    assert slider.get_attribute("aria-valuetext") == "13 slots"
    page.keyboard.press("Home")
    told.get_by_text(re.compile(r"answering, 4 slots: 2\.\d+/s .*; now 7")).wait_for()
    panel.get_by_text("As a table").click()
    panel.get_by_role("row", name=re.compile("14 slots")).wait_for()
    panel.get_by_role("button", name="As it is now").click()
    told.get_by_text(re.compile("answering, 14 slots: ")).wait_for()


def test_a_slider_goes_by_the_others(visit: Made) -> None:
    """What was changed before stays changed."""
    one = visit()
    page = one.open(f"#/runs/{LIVE}")
    panel = opened(page)
    panel.get_by_role("slider", name="requests").focus()
    page.keyboard.press("Home")
    told = panel.locator(".prediction")
    told.get_by_text(re.compile(r"requests, 3 calls per second: 2\.\d+/s|requests, 3 calls per second: 3")).wait_for()
    panel.get_by_role("slider", name="answering").focus()
    changes(told)
    told.get_by_text(re.compile(r"answering, 14 slots: [23](\.\d+)?/s")).wait_for()
    assert any("vary=2&set=4:3" in url for url in one.asked)


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
@pytest.mark.parametrize("run", [LIVE, HOSTILE])
def test_it_is_drawn(visit: Made, width: int, scheme: str, run: int) -> None:
    """Nothing is wider than the screen, and axe finds nothing, with attacks for names, too."""
    axe: Any = import_module("axe_playwright_python.sync_playwright").Axe()  # it has no types
    page = visit(width=width, scheme=scheme).open(f"#/runs/{run}")
    panel = page.locator("section[aria-labelledby=what-if]")
    panel.locator("summary").first.click()
    panel.locator("svg.curve, .note").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.run(page).response["violations"]
    assert [(each["id"], [node["html"][:160] for node in each["nodes"][:3]]) for each in found] == []
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"what-if-{run}-{width}-{scheme}.png"), full_page=True)
