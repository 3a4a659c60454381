"""Whether rxpipe became slower: ``python -m tests.benchmarks.gate``, a minute of ratios before a release.

Each figure is rxpipe's processor time an item over that of hand-written code for the same work, in processes that take
turns. So a busy or a slow machine changes both. A figure fails if its median is beyond what was reached before by more
than the margin. These are not the ratios of ``docs/benchmarks.md``: those go by the clock.

``--short`` takes ten seconds, for each run of CI. The contenders take turns within a process, and the fastest run of
each counts: whatever else the machine does makes a run slower, never faster. All are compared with hand-written
asyncio: load hardly changes its processor time, but may double that of hand-written threads.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .contenders import CONTENDERS
from .measure import Result, Task, rounds
from .tables import markdown
from .turns import least
from .workload import Job

MARGIN = 1.25
"""How much beyond what was reached fails."""

_ITEMS, _ROUNDS = 10_000, 5


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A ratio to keep.

    Attributes:
        ours: The key of the rxpipe contender.
        other: That of the hand-written one.
        reached: The ratio when it was last set, on 2 cores with CPython 3.11: the mean of several runs.
        margin: How much beyond that fails.
    """

    ours: str
    other: str
    reached: float
    margin: float = MARGIN

    @property
    def most(self) -> float:
        """The largest ratio that passes."""
        return self.reached * self.margin

    def row(self, found: float) -> list[str]:
        """What is printed of it."""
        title = f"{CONTENDERS[self.ours].title} / {CONTENDERS[self.other].title}"
        verdict = "yes" if found <= self.most else "**no**"
        return [title, f"{found:.2f}", f"{self.reached:.2f}", f"{self.most:.2f}", verdict]


FIGURES = (
    Figure(ours="rxpipe-asyncio", other="asyncio", reached=0.63),
    Figure(ours="rxpipe-threads", other="threads", reached=0.61),
    Figure(ours="pipeline-per-stage-asyncio", other="asyncio", reached=1.10),
    Figure(ours="pipeline-per-stage-threads", other="threads", reached=1.38),
)

SHORT_MARGIN = 1.15
"""The same for ``--short``: load moves its figures by 7% at most."""

SHORT = (
    Figure(ours="rxpipe-asyncio", other="asyncio", reached=0.60, margin=SHORT_MARGIN),
    Figure(ours="rxpipe-threads", other="asyncio", reached=0.58, margin=SHORT_MARGIN),
    Figure(ours="pipeline-per-stage-asyncio", other="asyncio", reached=1.13, margin=SHORT_MARGIN),
    Figure(ours="pipeline-per-stage-threads", other="asyncio", reached=1.17, margin=SHORT_MARGIN),
)


def ratio(ours: Result, other: Result) -> float:
    """The median over the rounds of our processor time over the other's."""
    pairs = zip(ours.samples, other.samples, strict=True)
    return median(mine.cpu_seconds / its.cpu_seconds for mine, its in pairs)


def short() -> int:
    """Measure and print in ten seconds; 1 if a figure is beyond its margin."""
    found = least(_keys(SHORT), items=3_000, rounds=10, processes=2)
    ratios = [(figure, found[figure.ours] / found[figure.other]) for figure in SHORT]
    _print([figure.row(ratio) for figure, ratio in ratios])
    return int(any(ratio > figure.most for figure, ratio in ratios))


def main() -> int:
    """Measure and print; 1 if a figure is beyond its margin or could not be measured."""
    tasks = [Task(key=key, job=Job(items=_ITEMS)) for key in _keys(FIGURES)]
    results = rounds(tasks, _ROUNDS, lambda text: print(text, file=sys.stderr))
    rows: list[list[str]] = []
    slower = False
    for figure in FIGURES:
        ours, other = results[figure.ours], results[figure.other]
        if why := ours.failure or ours.missing or other.failure or other.missing:
            print(f"{figure.ours} beside {figure.other}: {why}", file=sys.stderr)
            slower = True
            continue
        found = ratio(ours, other)
        slower = slower or found > figure.most
        rows.append(figure.row(found))
    _print(rows)
    return 1 if slower else 0


def _keys(figures: Sequence[Figure]) -> list[str]:
    return list(dict.fromkeys(key for figure in figures for key in (figure.other, figure.ours)))


def _print(rows: list[list[str]]) -> None:
    print(markdown(["processor time an item", "ratio", "reached", "at most", "passes"], rows))


if __name__ == "__main__":
    sys.exit(short() if "--short" in sys.argv[1:] else main())
