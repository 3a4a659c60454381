"""The pictures of README and docs, made anew from a run of ``examples/questions.yaml``.

::

    python docs/pictures/make.py                     # half a minute; needs the extra test, and chromium
    python docs/pictures/make.py --to /tmp/pictures --fast --count 40

- ``screen.svg``: the live screen, in the middle of the run
- ``page-light.png``, ``page-dark.png``: the page, a moment later
- ``compare-light.png``, ``compare-dark.png``: timelines of ``rxpipe compare``
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI

from rxpipe.cli.commands.compare import compare
from rxpipe.config import load_config
from rxpipe.config.build import pipeline_of
from rxpipe.foresight.live.foretelling import Foretelling
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.run.run import Run
from rxpipe.questions.rehearsed import without_waits
from rxpipe.screen.figures import Meter
from rxpipe.screen.live import Screen
from rxpipe.store import RunStore
from rxpipe.web import LiveRun, app
from rxpipe.web.serving import place, served

FOLDER = Path(__file__).parent
EXAMPLE = FOLDER.parents[1] / "examples" / "questions.yaml"
COMMAND = "rxpipe run examples/questions.yaml"
SCHEMES = ("light", "dark")
SHOWN = 0.6  # of the run is over when the pictures are taken
LOOK = 0.2  # seconds between two looks at the run
LONGEST = 60_000  # milliseconds that the page may take to draw the run
WIDTH = 100  # columns of the screen
TIMELINES = ["staged on asyncio", "per_stage on asyncio"]  # which of the comparison are shown
KEEP = """(names) => {
  const main = document.querySelector("main")
  const kept = [...main.querySelectorAll("figure")].filter((one) => names.includes(one.querySelector("b").innerText))
  if (kept.length !== names.length) throw new Error("no timelines of " + names)
  main.replaceChildren(...kept)
}"""


def make(folder: Path, *, count: int, fast: bool) -> list[Path]:
    """Make all pictures.

    Args:
        folder: Where they go.
        count: How many questions the run has.
        fast: Whether to leave the waits of the run out.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with browser() as opened, workplace(), ExitStack() as beside:
        if fast:
            beside.enter_context(without_waits())
        shutil.copy(EXAMPLE, "questions.yaml")
        watch(opened, folder, count)
        compare_pictures(opened, folder)
    return sorted(folder.glob("*.png")) + sorted(folder.glob("*.svg"))


def watch(opened: Any, folder: Path, count: int) -> None:
    """Run the example, with pictures of its screen and of its page."""
    config = load_config(Path("questions.yaml"))
    pipeline = pipeline_of(config)
    started: Future[Run] = Future()
    at = place(port=0)
    with ExitStack() as beside:
        # On threads of their own: this one has the browser's event loop.
        elsewhere = beside.enter_context(ThreadPoolExecutor(2))
        report = elsewhere.submit(run_blocking, pipeline, range(1, count + 1), started=started.set_result, signals=())
        run = started.result(60)
        meter = Meter(run.snapshot, total=count)
        beside.callback(at.listening.close)
        beside.enter_context(Foretelling(pipeline, run, total=count))
        store = RunStore(config.database.url)
        live = beside.enter_context(LiveRun(run.snapshot))
        reader = beside.enter_context(store.reader())
        page = app(reader, beside.enter_context(store.actor()), live=live, title=config.database.url)
        beside.enter_context(served(page, at))
        screen = elsewhere.submit(picture_of_screen, meter, report, folder / "screen.svg")  # browsers may be slow
        views = [opened(f"{at.url}#/runs/1", scheme) for scheme in SCHEMES]
        for scheme, view in zip(SCHEMES, views, strict=True):
            view.locator(".flow").wait_for(timeout=LONGEST)
            view.screenshot(path=folder / f"page-{scheme}.png")
        screen.result()
        assert report.result().written == count, report.result()


def picture_of_screen(meter: Meter, report: Future[Report], path: Path) -> None:
    """The live screen in the middle of the run, as a terminal shows it."""
    while not report.done() and (meter.read().fraction or 0) < SHOWN:
        time.sleep(LOOK)
    console = Console(record=True, width=WIDTH, height=20, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(f"$ {COMMAND}")
    console.print(Screen("examples/questions.yaml · per_stage on asyncio · sqlite:///questions.db", meter, None))
    drawn = console.export_svg(title="rxpipe", theme=MONOKAI, unique_id="rxpipe")
    # Fonts are of a server that pictures may not ask.
    drawn = re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", drawn, flags=re.DOTALL)
    path.write_text(re.sub(r"[ \t]+$", "", drawn, flags=re.MULTILINE), "utf-8")


def compare_pictures(opened: Any, folder: Path) -> None:
    """Two timelines of a simulated comparison, drawn from the calls of the run."""
    html = Path("compare.html").absolute()
    with redirect_stdout(io.StringIO()):
        compare(Path("questions.yaml"), latency="", count=300, html=html, simulated=True)
    for scheme in SCHEMES:
        view = opened(html.as_uri(), scheme)
        view.wait_for_load_state()
        view.evaluate(KEEP, TIMELINES)
        view.locator("main").screenshot(path=folder / f"compare-{scheme}.png")


@contextmanager
def workplace() -> Generator[None]:
    """An empty folder, as the current one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


@contextmanager
def browser() -> Generator[Callable[[str, str], Any]]:
    """Opens addresses in chromium, in a light or a dark scheme."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])

        def opened(url: str, scheme: Any) -> Any:
            view = chromium.new_page(
                viewport={"width": 1180, "height": 860}, color_scheme=scheme, reduced_motion="reduce"
            )
            view.goto(url, wait_until="commit")
            return view

        yield opened
        chromium.close()


def main() -> None:
    """Make the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description="Make the pictures of README and docs.")
    parser.add_argument("--to", type=Path, default=FOLDER, help="the folder that they go to")
    parser.add_argument("--count", type=int, default=1000, help="questions of the run")
    parser.add_argument("--fast", action="store_true", help="leave the waits of the run out")
    options = parser.parse_args()
    for path in make(options.to, count=options.count, fast=options.fast):
        print(path)


if __name__ == "__main__":
    main()
