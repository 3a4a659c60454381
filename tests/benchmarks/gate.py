"""Whether rxpipe became slower: ``python -m tests.benchmarks.gate``, a minute of ratios for CI.

Each figure is rxpipe's processor time an item over that of hand-written code for the same work, in processes that take
turns. So a busy or a slow machine changes both. A figure fails if its median is beyond what was reached before by more
than the margin. These are not the ratios of ``docs/benchmarks.md``: those go by the clock.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import median

from .contenders import CONTENDERS
from .measure import Result, Task, rounds
from .tables import markdown
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
        reached: The ratio when it was last set, on a Xeon of 2 cores with CPython 3.11: the mean of two runs.
    """

    ours: str
    other: str
    reached: float

    @property
    def most(self) -> float:
        """The largest ratio that passes."""
        return self.reached * MARGIN


FIGURES = (
    Figure(ours="rxpipe-asyncio", other="asyncio", reached=0.63),
    Figure(ours="rxpipe-threads", other="threads", reached=0.61),
    Figure(ours="pipeline-per-stage-asyncio", other="asyncio", reached=1.10),
    Figure(ours="pipeline-per-stage-threads", other="threads", reached=1.38),
)


def ratio(ours: Result, other: Result) -> float:
    """The median over the rounds of our processor time over the other's."""
    pairs = zip(ours.samples, other.samples, strict=True)
    return median(mine.cpu_seconds / its.cpu_seconds for mine, its in pairs)


def main() -> int:
    """Measure and print; 1 if a figure is beyond its margin or could not be measured."""
    keys = dict.fromkeys(key for figure in FIGURES for key in (figure.ours, figure.other))
    results = rounds(
        [Task(key=key, job=Job(items=_ITEMS)) for key in keys], _ROUNDS, lambda text: print(text, file=sys.stderr)
    )
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
        verdict = "yes" if found <= figure.most else "**no**"
        title = f"{CONTENDERS[figure.ours].title} / {CONTENDERS[figure.other].title}"
        rows.append([title, f"{found:.2f}", f"{figure.reached:.2f}", f"{figure.most:.2f}", verdict])
    print(markdown(["processor time an item", "ratio", "reached", "at most", "passes"], rows))
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
