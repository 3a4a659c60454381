"""What changes on the page by itself, and what it asks for."""

from __future__ import annotations

from typing import Any

from rxpipe.screen.texts import cost
from rxpipe.web import app
from rxpipe.web.serving import place, served
from web.fake_figures import LIVE
from web.fake_runs import FakeRuns

from .visits import Made, Visit, changes, in_browser, settles

pytestmark = in_browser


def test_live_runs_move(visit: Made) -> None:
    """In the list, and on their own screen."""
    page = visit().open("")
    row = page.locator("tbody tr").first
    changes(row)
    row.get_by_role("link", name="questions").click()
    page.wait_for_selector(".flow")
    assert "answering holds the others up" in page.locator(".advice").first.inner_text()
    assert page.locator(".card.bottleneck .name").inner_text().startswith("answering")
    changes(page.locator(".figures dd").first)


def test_small_costs_have_two_figures(visit: Made) -> None:
    """As in the terminal."""
    page = visit().open("")
    amounts = [0, 0.00000123, 0.0011, 0.0114, 0.037, 0.099, 0.42, 12.3, 999]
    told = page.evaluate(
        "async (all) => { const texts = await import('./static/texts.js'); return all.map(texts.cost); }", amounts
    )
    assert told == [cost(amount) for amount in amounts]


def test_a_hidden_page_asks_for_nothing(visit: Made, runs: FakeRuns) -> None:
    """The stream is closed, and opened again when it is seen."""
    one = visit()
    page = one.open(f"#/runs/{LIVE}")
    page.wait_for_selector(".flow")

    def hide(hidden: str) -> None:
        page.evaluate(
            "hidden => { Object.defineProperty(document, 'hidden', {get: () => hidden, configurable: true});"
            " document.dispatchEvent(new Event('visibilitychange')); }",
            hidden == "hidden",
        )

    hide("hidden")
    settles(page, lambda: (dict(runs.asked), len(one.asked)))
    before, asked = dict(runs.asked), len(one.asked)
    page.wait_for_timeout(1_500)
    assert (dict(runs.asked), len(one.asked)) == (before, asked)
    hide("seen")
    changes(page.locator(".figures dd").first)
    assert runs.asked["latest"] > before["latest"]


def test_a_server_that_has_gone_is_told_of(browser: Any, runs: FakeRuns) -> None:
    """What was last seen stays."""
    at = place(port=0)
    page = browser.new_page()
    with served(app(runs, runs, seconds=0.2), at):
        Visit(page, at.url).open(f"#/runs/{LIVE}")
        page.wait_for_selector(".flow")
    page.get_by_text("its program may have ended").wait_for()
    assert page.locator(".flow").is_visible()
    page.close()
