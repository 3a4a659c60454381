"""What each shape of a flow costs beside a plain chain: ``python -m tests.benchmarks.flows`` from a checkout.

Stages that do nothing, ten calls at once, on threads, without a sink and with a store in SQLite. Each figure has a
fresh process and a new database. The memory is the peak of a process in which one item is expanded into children by an
iterator, into few and into many.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rxpipe import Batch, Children, DatabaseSink, Pipeline, Record, Report, RunStore, Stage

from .machine import machine
from .measure import CHECKOUT, PATIENCE
from .tables import MOST_EXTRA_MB, markdown
from .workload import CONCURRENCY, QUEUE_SIZE

SPREAD = 10  # children of an item
TOGETHER = 100  # items of a batch
WARM_UP = 100
FEW = 10_000


def go_on(value: Any) -> Any:
    return value


def divide(number: int) -> list[int]:
    return [number * SPREAD + place for place in range(SPREAD)]


def count_up(many: int) -> Iterator[int]:
    yield from range(many)


def first_of(children: Children[int]) -> int:
    return children.values[0]


def stages(*calls: tuple[Callable[[Any], Any], dict[str, Any]]) -> list[Stage]:
    """Stages with the same bounds."""
    bounds: dict[str, Any] = {"concurrency": CONCURRENCY, "queue_size": QUEUE_SIZE}
    return [Stage(f"stage{number}", call, **bounds, **options) for number, (call, options) in enumerate(calls)]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A flow of three stages, or four.

    Args:
        title: Its name in the table.
        stages: Makes its stages.
        source: What the source gives for so many items that go through the last stage.
        ends: How those end.
    """

    title: str
    stages: Callable[[], list[Stage]]
    source: Callable[[int], Iterable[Any]] = range
    ends: str = "written"


def parents(items: int) -> range:
    """IDs of so many items that each has ``SPREAD`` children, of which there are ``items``."""
    return range(items // SPREAD)


PLAIN: tuple[Callable[[Any], Any], dict[str, Any]] = (go_on, {})
SHAPES = {
    "plain": Shape(title="plain chain of three stages", stages=lambda: stages(PLAIN, PLAIN, PLAIN)),
    "records": Shape(
        title="the same, from records",
        stages=lambda: stages(PLAIN, PLAIN, PLAIN),
        source=lambda items: (Record(number, number) for number in range(items)),
    ),
    "batch": Shape(
        title=f"the second stage with `batch`, {TOGETHER} a call",
        stages=lambda: stages(PLAIN, (go_on, {"batch": Batch(max_items=TOGETHER)}), PLAIN),
    ),
    "expand": Shape(
        title=f"the first stage with `expand`, 1 to {SPREAD}",
        stages=lambda: stages((divide, {"expand": True}), PLAIN, PLAIN),
        source=parents,
    ),
    "collect": Shape(
        title=f"the same, and a fourth stage with `collect`, {SPREAD} to 1",
        stages=lambda: stages((divide, {"expand": True}), PLAIN, PLAIN, (first_of, {"collect": True})),
        source=parents,
        ends="collected",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where outcomes go.

    Args:
        title: Its name in the tables.
        durable: Whether there is a store.
        items: Items of a run.
        many: Children of one item, for the memory.
    """

    title: str
    durable: bool
    items: int
    many: int


PLACES = {
    "none": Place(title="without a sink", durable=False, items=20_000, many=1_000_000),
    "store": Place(title="with a store, SQLite", durable=True, items=5_000, many=300_000),
}


def pipeline(steps: Sequence[Stage], place: Place, folder: str) -> Pipeline:
    """A pipeline with the outcomes going there."""
    if not place.durable:
        return Pipeline(*steps, name="flow")
    return Pipeline(*steps, sink=DatabaseSink(f"sqlite:///{folder}/rows.db"), store=RunStore(), name="flow")


def speed(shape: Shape, place: Place) -> float:
    """Items a second, in this process; of children, before they are collected."""
    with tempfile.TemporaryDirectory() as warm:
        pipeline(shape.stages(), place, warm).run(shape.source(WARM_UP))
    with tempfile.TemporaryDirectory() as folder:
        flow = pipeline(shape.stages(), place, folder)
        gc.collect()
        started = time.perf_counter()
        report = flow.run(shape.source(place.items))
        seconds = time.perf_counter() - started
    check(report, shape.ends, place.items)
    return place.items / seconds


def peak(place: Place, items: int) -> float:
    """The peak in megabytes of this process, in which one item has so many children."""
    steps = stages((count_up, {"expand": True}), PLAIN, PLAIN)
    with tempfile.TemporaryDirectory() as folder:
        report = pipeline(steps, place, folder).run([Record("all", items)])
    check(report, "written", items)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def check(report: Report, ends: str, items: int) -> None:
    """Make sure that so many items have ended so, and that the counts add up."""
    assert getattr(report, ends) == items, report
    ended = report.written + report.failed + report.dropped + report.expanded + report.collected + report.cancelled
    assert report.taken + report.spawned == ended, report


def measure(*task: str) -> float:
    """One figure, from a fresh process."""
    command = [sys.executable, "-m", f"{__package__}.flows", "--child", *task]
    patience = 2 * PATIENCE
    done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, timeout=patience, check=True)
    figure = float(json.loads(done.stdout.splitlines()[-1]))
    print(f"{' '.join(task)}: {figure:,.1f}", file=sys.stderr, flush=True)
    return figure


def ranged(figures: Sequence[float], how: str) -> str:
    """The median, and the range in brackets."""
    return f"{statistics.median(figures):{how}} ({min(figures):{how}} to {max(figures):{how}})"


def speeds(repeats: int) -> str:
    """The table of items a second."""
    samples: dict[tuple[str, str], list[float]] = {(key, place): [] for key in SHAPES for place in PLACES}
    for _ in range(repeats):
        for task, found in samples.items():
            found.append(measure("speed", *task))
    rows: list[list[str]] = []
    for key, shape in SHAPES.items():
        row = [shape.title]
        for place in PLACES:
            found, plain = samples[key, place], samples["plain", place]
            shares = [plain_rate / rate for plain_rate, rate in zip(plain, found, strict=True)]
            row += [ranged(found, ",.0f"), "" if key == "plain" else ranged(shares, ".2f")]
        rows.append(row)
    header = [
        name
        for place in PLACES.values()
        for name in (f"{place.title}, items/s (range)", "its time / the plain chain's (range)")
    ]
    return markdown(["", *header], rows)


def memory(repeats: int) -> str:
    """The table of peaks."""
    rows: list[list[str]] = []
    for key, place in PLACES.items():
        few, many = (
            statistics.median(measure("peak", key, str(items)) for _ in range(repeats)) for items in (FEW, place.many)
        )
        reached = "yes" if many - few <= MOST_EXTRA_MB else "**no**"
        figures = [f"{few:.1f}", f"{place.many:,}", f"{many:.1f}", f"{many - few:.1f}", f"{MOST_EXTRA_MB:.1f}", reached]
        rows.append([place.title, *figures])
    header = ["one item", f"{FEW:,} children, MB", "children", "MB", "more", "at most", "reached"]
    return markdown(header, rows)


def main() -> int:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.flows", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    repeats = parser.parse_args().repeats
    print(f"Measured on {machine()}.")
    print(f"Stages that do nothing: concurrency {CONCURRENCY}, queue size {QUEUE_SIZE}, threads.")
    print(f"Medians of {repeats} interleaved rounds; a fresh process and a new database for each figure.")
    print(f"\n### Shapes of flows, items a second\n\n{speeds(repeats)}", flush=True)
    print(f"\n### Children of one item, from an iterator: the peak of a process\n\n{memory(1)}")
    return 0


def child(kind: str, key: str, of: str) -> float:
    """One figure, in this process."""
    return speed(SHAPES[key], PLACES[of]) if kind == "speed" else peak(PLACES[key], int(of))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(*sys.argv[2:])))
    else:
        sys.exit(main())
