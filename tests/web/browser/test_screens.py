"""Each screen, with attacks in every text, and the ways between them, by mouse and keyboard."""

from __future__ import annotations

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from web.fake_figures import FINISHED, HOSTILE, KEY, LIVE, PASSWORD
from web.fake_runs import FakeRuns

from .visits import Made, in_browser

SCREENS = {
    "runs": "",
    "run": f"#/runs/{LIVE}",
    "past": f"#/runs/{FINISHED}",
    "timeline": f"#/runs/{LIVE}/timeline",
    "part": f"#/runs/{LIVE}/timeline?since=600&seconds=20",
    "items": f"#/runs/{LIVE}/items?status=failed",
    "item": f"#/runs/{LIVE}/item?id=42",
    "long": f"#/runs/{LIVE}/item?id=8",
    "compare": f"#/compare?a=10&b={LIVE}",
    "hostile": f"#/runs/{HOSTILE}",
    "hostile-items": f"#/runs/{HOSTILE}/items",
    "nothing": "#/nothing",
}
SHOTS = os.environ.get("RXPIPE_SCREENSHOTS")  # a folder, to look at them
# Colours are the scheme's, and what is shown where is the width's: each of them is searched once.
SEARCHED = ((400, "dark"), (1600, "light"))

pytestmark = in_browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_every_screen_is_drawn(visit: Made, width: int, scheme: str) -> None:
    """Nothing is wider than the screen, no secret is shown, axe finds nothing; the policy refuses nothing."""
    axe: Any = import_module("axe_playwright_python.sync_playwright").Axe()  # it has no types
    one = visit(width=width, scheme=scheme)
    for name, where in SCREENS.items():
        page = one.open(where)
        page.wait_for_timeout(400)  # of real drawing: charts, and the first news
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        text = page.inner_text("body")
        assert PASSWORD not in text
        assert KEY not in text
        if SHOTS:
            page.screenshot(path=str(Path(SHOTS) / f"{name}-{width}-{scheme}.png"), full_page=True)
        if (width, scheme) not in SEARCHED:
            continue
        found = axe.run(page).response["violations"]
        assert [(name, each["id"], [node["html"][:160] for node in each["nodes"][:3]]) for each in found] == []


def test_charts_have_their_numbers_as_tables(visit: Made) -> None:
    """From the beginning of the run, however late the page is opened."""
    page = visit().open(f"#/runs/{LIVE}")
    page.wait_for_selector("figure[aria-labelledby=cost] canvas")
    assert page.locator(".chart").count() == 8
    page.locator(".chart summary").first.click()
    page.locator(".chart").first.locator("tbody th").first.wait_for()
    cells = page.locator(".chart").first.locator("tbody th").all_inner_texts()
    assert len(cells) >= 20
    assert cells[0] in ("0:05", "0:06")
    page.get_by_label("Stage of the latencies").select_option(label="grading")
    page.wait_for_selector(".chart canvas")


def test_two_runs_side_by_side(visit: Made) -> None:
    """Two are chosen, and compared."""
    page = visit().open("")
    button = page.get_by_role("button", name="Compare")
    assert button.is_disabled()
    page.get_by_label("Select run 11").check()
    page.get_by_label("Select run 10").check()
    button.click()
    page.wait_for_selector("h1:has-text('Runs 10 and 11')")
    page.wait_for_selector("text=cost per 1,000 rows")


def test_filters_are_in_the_address(visit: Made, runs: FakeRuns) -> None:
    """So that what one sees can be shared, and Back goes back."""
    one = visit()
    page = one.open(f"#/runs/{LIVE}/items")
    page.get_by_label("Status").select_option("failed")
    page.wait_for_url(re.compile("status=failed"))
    page.get_by_label("Error contains").fill("score")
    page.get_by_label("Error contains").press("Enter")
    page.wait_for_url(re.compile("error=score"))
    page.locator("tbody tr").filter(has_not_text="score").first.wait_for(state="detached")
    shared = page.url
    other = visit().open(shared.removeprefix(one.url))
    other.wait_for_selector("tbody tr")
    assert other.get_by_label("Error contains").input_value() == "score"
    page.go_back()
    page.wait_for_url(re.compile("^[^?]*[?](?!.*error)"))
    page.get_by_role("button", name="Clear").click()
    page.wait_for_url(re.compile("items$"))
    page.get_by_text("3,000 items").wait_for()
    page.get_by_role("link", name="Next page").click()
    page.get_by_role("link", name="First page").wait_for()
    page.wait_for_selector("tbody tr")
    assert page.locator("tbody tr").count() == 100


def test_long_texts(visit: Made) -> None:
    """Two megabytes in one line: the beginning, then more, and all of it as a file."""
    page = visit().open(f"#/runs/{LIVE}/item?id=8")
    more = page.get_by_role("button", name="Show more").last
    more.wait_for()
    assert page.evaluate("document.body.textContent.length") < 40_000
    more.click()
    page.get_by_text("The first 200,000 of 2M characters.").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save all of it").last.click()
    assert download.value.path().stat().st_size == 2_000_000


def test_marks_and_control_characters_are_shown_as_signs(visit: Made) -> None:
    """None of them turns a text around, or hides a part of it."""
    page = visit().open(f"#/runs/{HOSTILE}")
    page.wait_for_selector("text=gnp.exe")
    text = page.inner_text("main")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert "RLO\u203agnp.exe\u2039PDF" in text
    assert "你好" in text
    assert page.locator("bdi:has-text('مرحبا')").first.get_attribute("dir") == "auto"


def test_attacks_in_the_address(visit: Made) -> None:
    """A link that somebody sends does nothing but show."""
    one = visit()
    for attack in ("<img src=x onerror=window.attacked=1>", "javascript:window.attacked=1", "%3Cscript%3E", "%", "\\"):
        for where in (
            f"#/runs/{LIVE}/items?error={attack}",
            f"#/{attack}",
            f"#/runs/{LIVE}/timeline?since={attack}&seconds=x",
        ):
            page = one.page
            page.goto("about:blank")
            one.open(where)
            page.wait_for_selector("h1")


def test_by_keyboard_alone(visit: Made) -> None:
    """From the address to the content, to a run, to its items, to one of them."""
    page = visit().open("")
    page.wait_for_selector("tbody tr")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.get_by_role("link", name="questions").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".flow")
    assert page.evaluate("document.activeElement.tagName") == "H1"
    page.get_by_role("link", name="Items", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("section[aria-label=Items] tbody tr")
    page.locator("section[aria-label=Items] tbody a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#calls")
