"""The page in a real browser: each screen and action, by mouse and keyboard, with attacks in every text."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rxpipe.insight.reading import ItemFilter
from rxpipe.web import app
from rxpipe.web.serving import Place, place, served

from .fake_runs import FINISHED, HOSTILE, KEY, LIVE, PASSWORD, FakeRuns

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="needs playwright"),
]


class Visit:
    """A page that a browser shows, with all that went wrong on it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.wrong: list[str] = []
        self.asked: list[str] = []
        page.on("console", self._logged)
        page.on("pageerror", self._raised)
        page.on("request", self._requested)
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " (e) => console.error('policy', e.violatedDirective, e.blockedURI))"
        )

    def _logged(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def _raised(self, error: Any) -> None:
        self.wrong.append(str(error))

    def _requested(self, request: Any) -> None:
        self.asked.append(request.url)

    def open(self, where: str) -> Any:
        """Go to a screen, and wait until it is drawn."""
        self.page.goto(self.url + where)
        self.page.wait_for_selector("main h1")
        self.page.get_by_text("Reading the runs").wait_for(state="hidden")
        self.page.wait_for_load_state("load")
        return self.page

    def check(self) -> None:
        """Nothing was refused by the policy, logged as an error, run by an attack, or asked of another server."""
        assert self.wrong == []
        assert self.page.evaluate("window.attacked") is None
        assert [url for url in self.asked if not url.startswith(self.url)] == []


def changes(place: Any) -> None:
    """Wait until what a place shows has changed. The page's policy lets no test wait for a function in it."""
    expect: Any = import_module("playwright.sync_api").expect
    expect(place).not_to_have_text(place.text_content(), timeout=15_000)


def settles(page: Any, count: Callable[[], object]) -> None:
    """Wait until a count stays the same for a while."""
    seen = None
    while seen != (seen := count()):
        page.wait_for_timeout(500)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def runs() -> FakeRuns:
    return FakeRuns(items=3_000)


Made = Callable[..., Visit]


@pytest.fixture
def visit(browser: Any, runs: FakeRuns) -> Generator[Made]:
    """Opens pages of a server; all of them are checked at the end."""
    at: Place = place(port=0)
    visits: list[Visit] = []
    contexts: list[Any] = []

    def make(*, width: int = 1600, scheme: str = "light") -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        visits.append(Visit(context.new_page(), at.url))
        return visits[-1]

    with served(app(runs, runs, title=f"postgresql://me:{PASSWORD}@host/bank", seconds=0.2), at):
        yield make
        for one in visits:
            one.check()
        for context in contexts:
            context.close()


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
        found = axe.run(page).response["violations"]
        assert [(name, each["id"], [node["html"][:160] for node in each["nodes"][:3]]) for each in found] == []


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
