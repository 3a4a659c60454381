"""Whether the right bottleneck is named: ``python -m tests.benchmarks.naming`` from a checkout.

Lines of two to five stages are drawn at random, whose slots, and limits if there are any, could do 1 to 1.5 items in a
second. rxpipe runs each in virtual time, and says what holds it up, from snapshots of that run alone. The truth is what
other runs say, with other items: in each of them there is half as much again of one resource. It is right to name the
one of these that gains most; it is also right to say that it is too close to call where the best two differ by less
than 5 points. The gain that is stated is compared with that of a run with just as many slots, or as high a limit, as is
advised.

The lines come from seeds, so the table is always the same; ``--first`` begins with another one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rxpipe.insight.insight import Insight, insight_of

from .lines import Line, draw_line, rate_of, watch
from .tables import markdown

HALF_AGAIN = 1.5
CLOSE = 0.05  # a difference of gains
ITEMS = 3_000  # of the run that is watched
TRUE_ITEMS = 4_000  # of each run that says what is true
LEAST_RIGHT = {False: 0.90, True: 0.85}  # with limits or not
MOST_CLOSE = 0.20
MOST_OFF = 0.06


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was said of a line, and what is true.

    Attributes:
        seed: The line's.
        gains: What half as much again of each resource gains.
        insight: What was said.
        least: The resource of the least capacity.
        true_gain: What the advised change gains; None if none was advised.
    """

    seed: int
    gains: dict[str, float]
    insight: Insight
    least: str
    true_gain: float | None

    @property
    def best(self) -> str:
        """The resource that gains most."""
        return max(self.gains, key=lambda name: self.gains[name])

    @property
    def is_close(self) -> bool:
        """Whether it was too close to call."""
        return self.insight.bottleneck.verdict == "close"

    @property
    def is_right(self) -> bool:
        """Whether the right one was named, or it was indeed too close to call."""
        first, second = sorted(self.gains.values(), reverse=True)[:2]
        return first - second < CLOSE if self.is_close else self.insight.bottleneck.name == self.best

    @property
    def off(self) -> float | None:
        """By how much the stated gain is off the true one."""
        stated = self.insight.advice.gain
        return None if self.true_gain is None or stated is None or self.is_close else abs(stated - self.true_gain)


def results(seeds: range, *, limited: bool) -> Iterator[Result]:
    """Run the lines of these seeds."""
    for seed in seeds:
        line = draw_line(seed, limited=limited)
        truth = f"truth {seed}"
        now = rate_of(line, truth, TRUE_ITEMS)
        gains = {name: _gain(line.relaxed(name, _half_again), truth, now) for name in line.names}
        insight = insight_of(watch(line, f"watched {seed}", ITEMS))
        capacities = [each for each in insight.capacities if each.name in line.names]
        advice = insight.advice
        true_gain = None
        if advice.name is not None and advice.to is not None:
            true_gain = _gain(line.relaxed(advice.name, _to(advice.to)), truth, now)
        least = min(capacities, key=lambda each: each.rate).name
        yield Result(seed=seed, gains=gains, insight=insight, least=least, true_gain=true_gain)


def _half_again(amount: float) -> float:
    return amount * HALF_AGAIN


def _to(amount: float) -> Callable[[float], float]:
    return lambda _: amount


def _gain(line: Line, seed: str, now: float) -> float:
    return rate_of(line, seed, TRUE_ITEMS) / now - 1


def row(title: str, found: list[Result], *, limited: bool) -> list[str]:
    """A row of the table."""
    count = len(found)
    right, close = sum(each.is_right for each in found) / count, sum(each.is_close for each in found) / count
    offs = sorted(off for each in found if (off := each.off) is not None)
    off = offs[min(len(offs) - 1, int(0.95 * len(offs)))] if offs else 0.0
    good = right >= LEAST_RIGHT[limited] and off <= MOST_OFF
    return [
        title,
        f"{count}",
        f"{right:.0%}",
        f"{LEAST_RIGHT[limited]:.0%}",
        f"{close:.0%}",
        f"{100 * statistics.median(offs):.1f}" if offs else "",
        f"{100 * off:.1f}",
        f"{100 * MOST_OFF:.0f}",
        "yes" if good else "**no**",
        f"{sum(each.least == each.best for each in found) / count:.0%}",
    ]


HEADER = [
    "lines",
    "number",
    "right",
    "at least",
    "too close to call",
    "stated gain off, median, points",
    "95th percentile",
    "at most",
    "reached",
    "least capacity alone is right",
]


def main() -> int:
    """Run all lines, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.naming", description="is the bottleneck named?")
    parser.add_argument("--lines", type=int, default=100, help="of each kind (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--wrong", action="store_true", help="say what was said of lines of which the wrong was named")
    options = parser.parse_args()
    rows: list[list[str]] = []
    close = 0
    for limited, title in ((False, "without limits"), (True, "with one or two rate limits")):
        found: list[Result] = []
        for result in results(range(options.first, options.first + options.lines), limited=limited):
            found.append(result)
            if options.wrong and not result.is_right:
                gains = ", ".join(f"{name} {gain:+.1%}" for name, gain in result.gains.items())
                print(f"{title}, {result.seed}: {result.insight.advice.sentence} ({gains})", file=sys.stderr)
        close += sum(result.is_close for result in found)
        rows.append(row(title, found, limited=limited))
    print(markdown(HEADER, rows))
    share = close / (2 * options.lines)
    print(f"\nToo close to call in {share:.0%} of all lines; at most {MOST_CLOSE:.0%}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
