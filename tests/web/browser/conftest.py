"""A browser, runs that move, and pages of a server that shows them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from rxpipe.web import app
from rxpipe.web.serving import Place, place, served
from web.fake_figures import PASSWORD
from web.fake_runs import FakeRuns

from .visits import ARGUMENTS, CHROMIUM, Made, Visit


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def runs() -> FakeRuns:
    return FakeRuns(items=3_000)


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
