"""What is done on the page, by mouse and keyboard: each action asks before."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rxpipe.insight.reading import ItemFilter
from rxpipe.web import app
from rxpipe.web.serving import place, served
from web.fake_figures import LIVE
from web.fake_runs import FakeRuns

from .visits import Made, Visit, in_browser

pytestmark = in_browser


def test_selected_items_are_requeued_after_a_question(visit: Made, runs: FakeRuns) -> None:
    """Nothing is done on Cancel or Escape."""
    page = visit().open(f"#/runs/{LIVE}/items?status=failed")
    boxes = page.get_by_label(re.compile("Select item"))
    boxes.first.wait_for()
    ids = [box.get_attribute("aria-label").removeprefix("Select item ") for box in boxes.all()[:2]]
    for box in boxes.all()[:2]:
        box.check()
    page.get_by_role("button", name="Requeue selected (2)").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Requeue selected (2)").click()
    page.keyboard.press("Escape")
    assert runs.requeued == []
    page.get_by_role("button", name="Requeue selected (2)").click()
    page.get_by_role("dialog").get_by_role("button", name="Requeue").click()
    page.get_by_text("2 items are to be tried again").wait_for()
    assert runs.requeued == [(LIVE, ids)]


def test_a_question_comes_and_goes_with_what_is_pressed(visit: Made) -> None:
    """However fast keys and clicks follow each other: it does not wait for the browser to draw."""
    page = visit().open(f"#/runs/{LIVE}")
    stop = page.get_by_role("button", name="Stop")
    pressed = """async (button, others) => {
        const isOpen = [];
        for (const other of [null, ...others]) {
            const inIt = [...document.querySelectorAll("dialog button")];
            (inIt.find((one) => one.textContent === other) ?? button).click();
            await new Promise(queueMicrotask);
            isOpen.push(document.querySelector("dialog[open]") !== null);
        }
        return isOpen;
    }"""
    stop.focus()
    assert stop.evaluate(pressed, ["Cancel"]) == [True, False]
    assert stop.evaluate(pressed, ["Cancel", None]) == [True, False, True]
    page.wait_for_timeout(200)  # the event of the first one's end is there
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    assert stop.evaluate("button => button === document.activeElement")


def test_all_that_a_filter_finds_is_requeued(visit: Made, runs: FakeRuns) -> None:
    """It must be one for what can be tried again."""
    page = visit().open(f"#/runs/{LIVE}/items")
    page.wait_for_selector("tbody tr")
    button = page.get_by_role("button", name="Requeue all found")
    assert button.is_disabled()
    page.get_by_label("Status").select_option("dropped")
    page.wait_for_url(re.compile("status=dropped"))
    page.wait_for_selector(".pill.dropped")
    button.click()
    page.get_by_role("dialog").get_by_role("button", name="Requeue").click()
    page.get_by_text("to be tried again").first.wait_for()
    assert runs.requeued == [(LIVE, ItemFilter(status="dropped"))]


@pytest.mark.parametrize("action", ["Stop", "Abort"])
def test_a_run_is_stopped_after_a_question(visit: Made, runs: FakeRuns, action: str) -> None:
    """By keyboard alone."""
    page = visit().open(f"#/runs/{LIVE}")
    page.get_by_role("button", name=action).focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.get_by_role("dialog").get_by_role("button", name=action).focus()
    page.keyboard.press("Enter")
    page.get_by_text("2 workers of run 12 were told").wait_for()
    assert runs.stopped == [(LIVE, action == "Abort")]
    page.wait_for_selector(".pill.finished")


def test_an_action_that_fails_says_why(browser: Any, runs: FakeRuns) -> None:
    """The question stays, with the reason."""
    at = place(port=0)
    with served(app(runs, runs), at):
        page = browser.new_page()
        one = Visit(page, at.url)
        one.open(f"#/runs/{LIVE}")
        page.get_by_role("button", name="Stop").click()
        runs.error = OSError("the database is away")
        page.get_by_role("dialog").get_by_role("button", name="Stop").click()
        page.get_by_role("dialog").get_by_text("the database is away").wait_for()
        runs.error = None
        page.close()


def test_a_page_that_may_not_act_shows_no_actions(browser: Any, runs: FakeRuns) -> None:
    """It says that it is read-only."""
    at = place(port=0)
    with served(app(runs, runs, read_only=True), at):
        page = browser.new_page()
        one = Visit(page, at.url)
        one.open(f"#/runs/{LIVE}")
        page.wait_for_selector(".flow")
        assert "read-only" in page.locator(".title").inner_text()
        names = page.get_by_role("button").all_inner_texts()
        assert not {"Stop", "Abort", "Requeue failed"} & set(names)
        one.check()
        page.close()


def test_a_token_is_asked_for(browser: Any, runs: FakeRuns) -> None:
    """Typed in or in the address; it does not stay there."""
    token = "a-token-of-more-than-16"
    at = place(port=0)
    with served(app(runs, runs, token=token), at):
        context = browser.new_context()
        page = context.new_page()
        page.goto(at.url)
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Enter").click()
        page.get_by_text("That is not the token").wait_for()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Enter").click()
        page.wait_for_selector("tbody tr")
        assert token not in page.url
        context.close()
