"""Pages that a browser shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

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
in_browser = [
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


Made = Callable[..., Visit]
