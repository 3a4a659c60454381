"""What an open page costs a run: ``python -m tests.benchmarks.watched`` from a checkout.

Three runs of stages that do nothing, each in a fresh process, in turn with a page that a client has open and without
one. The client asks for what a browser asks for: for the page, before the run begins, and then for the run's numbers
and the stream of its events, to the end.

- *paced*: 10,000 items a second come, and the page is served in the run's process. CPU time counts.
- *full*: the same, as fast as the run can go. Items a second and CPU time count.
- *stored*: a run with a store in SQLite, as fast as it can go. ``rxpipe view`` serves the page in a process of its own.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.pipeline.run.run import Run
from rxpipe.web import LiveRun, app
from rxpipe.web.serving import place, served

from .machine import machine
from .measure import CHECKOUT, PATIENCE, Failed
from .tables import markdown
from .workload import CONCURRENCY

MOST_SLOWER = 0.02
PACE = 10_000  # items a second
_STEP = 0.01  # seconds from one handful of paced items to the next


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A run that is watched.

    Attributes:
        title: Its name in the table.
        rate: Items a second for which the number of items is chosen.
        paced: Whether no more come.
        stored: Whether it has a store, and the page is another process's.
    """

    title: str
    rate: int
    paced: bool = False
    stored: bool = False


KINDS = {
    "paced": Kind(title="10,000 items a second, page in the same process", rate=PACE, paced=True),
    "full": Kind(title="as fast as it can go, page in the same process", rate=20_000),
    "stored": Kind(title="with a store in SQLite, `rxpipe view` in another process", rate=5_000, stored=True),
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the process of a run measured.

    Attributes:
        seconds: How long the run lasted.
        cpu_seconds: CPU time of its process meanwhile.
        page_seconds: CPU time of the threads that serve the page, if they are in that process.
        opening_seconds: The same before the run began.
        items: How many items it had.
    """

    seconds: float
    cpu_seconds: float
    page_seconds: float
    opening_seconds: float
    items: int

    @property
    def rate(self) -> float:
        """Items a second."""
        return self.items / self.seconds

    @property
    def cpu(self) -> float:
        """CPU seconds an item."""
        return self.cpu_seconds / self.items

    @property
    def page(self) -> float:
        """The page's share of the CPU time."""
        return self.page_seconds / self.cpu_seconds


# The process of the run


def same(value: Any) -> Any:
    return value


def paced(items: int) -> Iterator[int]:
    """IDs, a handful at a time."""
    began = time.perf_counter()
    for number in range(items):
        if number % int(PACE * _STEP) == 0:
            time.sleep(max(0.0, began + number / PACE - time.perf_counter()))
        yield number


def work(kind: Kind, items: int, url: str) -> Sample:
    """Run it, and tell standard output where the page is."""
    stages = [Stage(name, same, concurrency=CONCURRENCY, version=1) for name in "abc"]
    source: Iterable[int] = paced(items) if kind.paced else range(items)
    if kind.stored:
        pipeline = Pipeline(*stages, sink=DatabaseSink(url), store=RunStore(fresh=True), name="watched")
        pipeline.run([0])  # makes the store, which the page needs
        print(flush=True)
        sys.stdin.readline()
        return _measured(lambda: pipeline.start(source), items)
    at = place(port=0)
    runs: list[Run] = []
    with LiveRun(lambda: runs[0].snapshot() if runs else None) as live, served(app(None, live=live), at):
        print(at.url, flush=True)
        sys.stdin.readline()

        def start() -> Run:
            runs.append(Pipeline(*stages, name="watched").start(source))
            return runs[0]

        return _measured(start, items)


def _measured(start: Callable[[], Run], items: int) -> Sample:
    clocks = time.perf_counter, time.process_time, _page_seconds
    began = [clock() for clock in clocks]
    report = start().finished.result()
    seconds, cpu_seconds, page_seconds = (clock() - first for clock, first in zip(clocks, began, strict=True))
    assert report.written == items, f"{report.written} of {items} items were written"
    return Sample(
        seconds=seconds, cpu_seconds=cpu_seconds, page_seconds=page_seconds, opening_seconds=began[-1], items=items
    )


def _page_seconds() -> float:
    """CPU time of the page's threads so far."""
    threads = [each for each in threading.enumerate() if each.name.startswith(("rxpipe-web", "AnyIO"))]
    clocks = [time.pthread_getcpuclockid(each.ident) for each in threads if each.ident is not None]
    return sum(map(time.clock_gettime, clocks))


# The client


class Browser:
    """Asks a page for what a browser asks for.

    Attributes:
        events: How many events of the run have come.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._at = parts.hostname or "", parts.port
        self.events = 0

    def open(self) -> None:
        """The page with all that belongs to it."""
        for path in ("", *_files(), "api/about"):
            self._get(path)

    def watch(self, number: int) -> None:
        """Go to a run that begins, and stay until it is over."""
        while self._get(f"api/runs/{number}", or_else=404) is None:
            time.sleep(0.1)
        for path in ("history", "errors", *(["workers"] if number else [])):
            self._get(f"api/runs/{number}/{path}")
        connection = http.client.HTTPConnection(*self._at, timeout=30)
        with closing(connection), suppress(OSError, http.client.HTTPException):  # the server may end first
            connection.request("GET", f"/api/runs/{number}/stream", headers={"accept": "text/event-stream"})
            for line in connection.getresponse():
                if line.startswith(b"data: "):
                    self.events += 1
                    if json.loads(line[6:])["run"]["state"] != "running":
                        break

    def _get(self, path: str, *, or_else: int = 200) -> bytes | None:
        """An answer; None if it has that other status."""
        connection = http.client.HTTPConnection(*self._at, timeout=30)
        with closing(connection):
            connection.request("GET", f"/{path}")
            response = connection.getresponse()
            body = response.read()
        if response.status != 200 and response.status != or_else:
            raise Failed(f"/{path} was answered with {response.status}")
        return body if response.status == 200 else None


def _files() -> list[str]:
    """All that belongs to the page: its main module imports the other ones."""
    folder = CHECKOUT / "rxpipe" / "web"
    found = (each for each in (folder / "static").rglob("*.*") if each.suffix in (".js", ".css", ".svg"))
    return [each.relative_to(folder).as_posix() for each in found]


# Pairs


def measure(key: str, seconds: float, watchers: int) -> Sample:
    """One run in a fresh process, with so many who watch.

    Raises:
        Failed: It went wrong, or nobody was told of it.
    """
    kind = KINDS[key]
    items = int(kind.rate * seconds)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        url = f"sqlite:///{folder}/watched.db"
        command = [sys.executable, "-m", f"{__package__}.watched", "--work", key, "--items", str(items), "--url", url]
        process, page = _begun(stack, command)
        if kind.stored:
            view = [sys.executable, "-m", "rxpipe.cli", "view", "--database", url, "--no-browser", "--port", "0"]
            page = _begun(stack, view, after="page: ")[1]
        browsers = [Browser(page) for _ in range(watchers)]
        for browser in browsers:
            browser.open()
        number = 2 if kind.stored else 0
        with ThreadPoolExecutor(max(1, watchers)) as threads:
            assert process.stdin is not None
            print(file=process.stdin, flush=True)
            visits = [threads.submit(browser.watch, number) for browser in browsers]
            told, _ = process.communicate(timeout=PATIENCE)
            if process.returncode:
                raise Failed(f"exit status {process.returncode}")
            sample = Sample(**json.loads(told))
            for visit in visits:
                visit.result()
        for browser in browsers:
            if browser.events < sample.seconds / 2:
                raise Failed(f"{browser.events} events in {sample.seconds:.0f} s")
    return sample


def _begun(stack: ExitStack, command: Sequence[str], after: str = "") -> tuple[subprocess.Popen[str], str]:
    """A process, and what it says first of all, or first after such words; it ends with the stack."""
    process = stack.enter_context(
        subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(after):
            return process, line.removeprefix(after).strip()
    raise Failed(f"{' '.join(command)} said nothing")


def pairs(key: str, options: argparse.Namespace) -> Iterator[tuple[Sample, Sample]]:
    """Pairs of runs, without and with who watches; the one or the other goes first."""
    for number in range(options.pairs):
        order = (0, options.watchers) if number % 2 == 0 else (options.watchers, 0)
        found = {watchers: measure(key, options.seconds, watchers) for watchers in order}
        alone, watched = found[0], found[options.watchers]
        print(
            f"{key} {number + 1}/{options.pairs}: {watched.seconds / alone.seconds:.3f} of the time, "
            f"{watched.cpu / alone.cpu:.3f} of the CPU time ({alone.rate:,.0f} items/s)",
            file=sys.stderr,
            flush=True,
        )
        yield alone, watched


def row(kind: Kind, found: Sequence[tuple[Sample, Sample]]) -> list[str]:
    """What a kind of run costs more when it is watched."""
    slower = [watched.seconds / alone.seconds - 1 for alone, watched in found]
    dearer = [watched.cpu / alone.cpu - 1 for alone, watched in found]
    pages = [one.page for one, _ in found], [one.page for _, one in found]
    counts = dearer if kind.paced else slower
    return [
        kind.title,
        f"{statistics.median(alone.rate for alone, _ in found):,.0f}",
        "" if kind.paced else _spread(slower),
        f"{statistics.median(alone.cpu for alone, _ in found) * 1e6:.1f}",
        _spread(dearer),
        "" if kind.stored else " → ".join(f"{statistics.median(page):.1%}" for page in pages),
        f"{MOST_SLOWER:.0%}",
        "yes" if statistics.median(counts) <= MOST_SLOWER else "**no**",
    ]


def _spread(shares: Sequence[float]) -> str:
    low, _, high = statistics.quantiles(shares, n=4)
    return f"{statistics.median(shares):+.1%} ({low:+.1%} to {high:+.1%})"


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.watched", description=__doc__)
    parser.add_argument("--only", choices=KINDS, help="one of the runs")
    parser.add_argument("--pairs", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run, about (default: %(default)s)")
    parser.add_argument("--watchers", type=int, default=1, help="clients with the page open (default: %(default)s)")
    parser.add_argument("--work", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--items", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(asdict(work(KINDS[options.work], options.items, options.url))))
        return 0
    keys = [options.only] if options.only else list(KINDS)
    found = {key: list(pairs(key, options)) for key in keys}
    print(
        f"Measured on {machine()}. Medians of {options.pairs} pairs of runs of about {options.seconds:g} s; in brackets"
    )
    print(f"the middle half of the pairs. Clients that watch: {options.watchers}.\n")
    header = [
        "run",
        "items/s",
        "slower",
        "CPU µs/item",
        "more CPU time",
        "of it the page's threads",
        "at most",
        "reached",
    ]
    print(markdown(header, [row(KINDS[key], of_kind) for key, of_kind in found.items()]))
    openings = [
        watched.opening_seconds - alone.opening_seconds
        for key, of_kind in found.items()
        if not KINDS[key].stored
        for alone, watched in of_kind
    ]
    if openings:
        print(f"\nOpening the page takes {statistics.median(openings) * 1e3:.0f} ms of CPU time, once.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
