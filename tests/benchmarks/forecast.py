"""How good forecasts are: ``python -m tests.benchmarks.forecast``.

Against each of four fake servers, a base run of the question bank is made and recorded. From its record alone, runs are
forecast that are set up otherwise. Then those runs are made, and compared. Each run has a process of its own, and its
server another one; several are made at a time.

The servers draw what befalls a call from its messages. So runs of the same items have the same calls, as long as the
server's seed is the same: what is left of an error is the forecast's. Runs with more items, or with another seed, have
calls that nobody has seen, and errors that no forecast can avoid: the interval is to tell how large they may be.

Runs on a busy machine are made again, up to three times. On Linux, ``nice`` counts within a session only, so beside
other work this is what helps::

    setsid sh -c "echo -5 > /proc/self/autogroup; exec nice -n -5 python -m tests.benchmarks.forecast"
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rxpipe.foresight import recorded, simulate

from .forecast_cases import WORLDS, Case, cases, pipeline_of
from .forecast_real import CALM, RealRun, run_base, run_cases
from .machine import machine
from .tables import markdown

_UNUSED = "http://127.0.0.1:9/v1"  # nobody is called there
_INSIDE = 0.85  # the share of intervals that are to hold


@dataclass(frozen=True, kw_only=True)
class Number:
    """A forecast number, with its interval of nine cases in ten."""

    middle: float
    low: float
    high: float

    def error(self, real: float) -> float:
        """How far off the middle is, as a share of what was."""
        return self.middle / real - 1

    def holds(self, real: float) -> bool:
        """Whether what was is in the interval."""
        return self.low <= real <= self.high


@dataclass(frozen=True, kw_only=True)
class Goal:
    """How exact a number is to be.

    Attributes:
        title: Of the number.
        median: The most that half of the errors may be.
        p95: The most that 95% of the errors may be; None if that does not matter.
        shown: How it is written.
    """

    title: str
    median: float
    p95: float | None
    shown: str


GOALS = {
    "seconds": Goal(title="wall time, s", median=0.02, p95=0.05, shown=".2f"),
    "rate": Goal(title="items/s", median=0.02, p95=0.05, shown=".2f"),
    "cost": Goal(title="cost", median=0.02, p95=None, shown=".4f"),
}
Numbers = Mapping[str, Number]


def forecast(case: Case, record: str, run: int) -> Numbers:
    """Forecast a run from the record of the base run."""
    pipeline = pipeline_of(case.setup, _UNUSED, "sqlite://")  # which is not opened
    found = simulate(pipeline, count=case.setup.count, record=recorded(record, run), seed=1)
    intervals = {"seconds": found.seconds, "rate": found.rate, "cost": found.cost}
    return {name: Number(middle=one.middle, low=one.low, high=one.high) for name, one in intervals.items()}


def forecasts(chosen: Sequence[Case], bases: Mapping[str, RealRun], folder: Path) -> dict[Case, Numbers]:
    """Forecast all of them, two at a time."""
    records = [f"sqlite:///{folder / case.base}.db" for case in chosen]
    runs = [bases[case.base].run or 1 for case in chosen]
    with ProcessPoolExecutor(2) as pool:
        return dict(zip(chosen, pool.map(forecast, chosen, records, runs), strict=True))


def tables(chosen: Sequence[Case], said: Mapping[Case, Numbers], real: Mapping[str, RealRun]) -> Iterable[str]:
    """A table of cases for each server, and the sums."""
    for world in dict.fromkeys(case.world for case in chosen):
        these = [case for case in chosen if case.world == world]
        yield f"### {WORLDS[world].title}\n\n{_cases(these, said, real)}"
    yield f"### All {len(chosen)} cases\n\n{_sums(chosen, said, real)}"
    yield "\\* Others used the machine meanwhile."


def _cases(chosen: Sequence[Case], said: Mapping[Case, Numbers], real: Mapping[str, RealRun]) -> str:
    header = ["what is different", "calls"]
    for goal in GOALS.values():
        header += [f"{goal.title}: forecast (interval)", "was", "error"]
    rows: list[list[str]] = []
    for case in chosen:
        was = real[case.real]
        base = f" (from base run {case.base_seed})" if len(WORLDS[case.world].seeds) > 1 else ""
        row = [case.title + base + (" \\*" if was.lag > CALM else ""), case.kind]
        for name, goal in GOALS.items():
            number, value = said[case][name], float(getattr(was, name))
            low, high = (format(one, goal.shown) for one in (number.low, number.high))
            outside = "" if number.holds(value) else " (outside)"
            row += [f"{number.middle:{goal.shown}} ({low} to {high})", f"{value:{goal.shown}}"]
            row.append(f"{number.error(value):+.1%}{outside}")
        rows.append(row)
    return markdown(header, rows)


def _sums(chosen: Sequence[Case], said: Mapping[Case, Numbers], real: Mapping[str, RealRun]) -> str:
    kinds = ["all", *dict.fromkeys(case.kind for case in chosen)]
    rows: list[list[str]] = []
    for kind in kinds:
        these = [case for case in chosen if kind in ("all", case.kind)]
        for name, goal in GOALS.items():
            pairs = [(said[case][name], float(getattr(real[case.real], name))) for case in these]
            errors = sorted(abs(number.error(value)) for number, value in pairs)
            inside = statistics.fmean(number.holds(value) for number, value in pairs)
            p95 = errors[min(len(errors) - 1, int(0.95 * len(errors)))]
            row = [f"{kind} ({len(these)}): {goal.title}", *_beside(statistics.median(errors), goal.median)]
            row += _beside(p95, goal.p95) if goal.p95 is not None else [f"{p95:.1%}", ""]
            rows.append([*row, f"{inside:.0%}", f">= {_INSIDE:.0%} {_verdict(inside >= _INSIDE)}"])
    return markdown(["", "median error", "goal", "95th percentile", "goal", "inside of the interval", "goal"], rows)


def _beside(figure: float, most: float) -> list[str]:
    return [f"{figure:.1%}", f"<= {most:.0%} {_verdict(figure <= most)}"]


def _verdict(good: bool) -> str:
    return "yes" if good else "**no**"


def _loaded(file: Path) -> tuple[dict[str, RealRun], dict[str, RealRun]]:
    given = json.loads(file.read_text("utf-8"))
    bases, real = ({key: RealRun(**one) for key, one in given[name].items()} for name in ("bases", "real"))
    return bases, real


def _save(file: Path, bases: Mapping[str, RealRun], real: Mapping[str, RealRun]) -> None:
    runs = {"bases": bases, "real": real}
    given = {name: {key: asdict(one) for key, one in found.items()} for name, found in runs.items()}
    file.write_text(json.dumps(given, indent=1), "utf-8")


def main() -> int:
    """Make base runs, forecast, make the real runs, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.forecast", description=__doc__)
    parser.add_argument("--real", type=Path, help="make no run: take those that are kept here, and forecast them anew")
    parser.add_argument(
        "--folder", type=Path, help="where runs are kept, and not made again if they were not disturbed"
    )
    parser.add_argument("--only", default="", help="only cases with this in their names")
    parser.add_argument("--at-a-time", type=int, default=3, help="real runs at the same time (default: %(default)s)")
    options = parser.parse_args()
    chosen = [case for case in cases() if options.only in case.real]
    if options.real is not None:
        folder, (bases, real) = options.real.parent, _loaded(options.real)
        chosen = [case for case in chosen if case.real in real and case.base in bases]
        said = forecasts(chosen, bases, folder)
    else:
        folder = options.folder or Path(tempfile.mkdtemp(prefix="forecast"))
        said, real = _made(chosen, folder, options.at_a_time)
    print(f"Measured on {machine()}.\n")
    print("\n\n".join(tables(chosen, said, real)))
    return 0


def _made(chosen: Sequence[Case], folder: Path, at_a_time: int) -> tuple[dict[Case, Numbers], dict[str, RealRun]]:
    """Forecasts, and then the real runs."""
    tell: Callable[[str], None] = partial(print, file=sys.stderr, flush=True)
    folder.mkdir(exist_ok=True)
    kept = folder / "real.json"
    bases, real = _loaded(kept) if kept.exists() else ({}, {})
    for base, case in {case.base: case for case in chosen}.items():
        if base not in bases:
            bases[base] = run_base(case, folder)
            tell(f"base run: {base} {bases[base].seconds:.1f} s, lag {bases[base].lag:.4f}")
    _save(kept, bases, real)
    started = time.perf_counter()
    said = forecasts(chosen, bases, folder)
    tell(f"{len(said)} forecasts in {time.perf_counter() - started:.0f} s")

    def ended(case: Case, run: RealRun) -> None:
        real[case.real] = min(run, real.get(case.real, run), key=lambda one: one.lag)
        _save(kept, bases, real)
        tell(f"{case.real}: {run.seconds:.1f} s, lag {run.lag:.4f}, load {os.getloadavg()[0]:.1f}")

    missing = {case.real: case for case in chosen if case.real not in real or real[case.real].lag > CALM}
    run_cases(list(missing.values()), folder, at_a_time, ended)
    tell(f"to forecast them anew: --real {kept}")
    return said, real


if __name__ == "__main__":
    sys.exit(main())
