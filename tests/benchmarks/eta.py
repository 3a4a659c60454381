"""How well the end of a run is foretold: ``python -m tests.benchmarks.eta`` from a checkout.

Pipelines run in virtual time: random lines of stages, with and without limits, with heavy tails, with failures, retries
and timeouts. At 20 moments of each, from a tenth of the run on, its state is what a live run would have told, and the
time left is estimated: by simulating what is left, and by the straight line that a screen draws without that.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time as real_time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rxpipe import Pipeline, RateLimiter, Retry, Stage
from rxpipe.foresight.live.remaining import Remaining
from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.screen.figures import Meter

from .tables import markdown
from .virtual import DrawnCalls

MOMENTS = 20
_FROM, _TO = 0.1, 0.95  # shares of a run between which it is asked
_LOOK = 1.0  # seconds between two looks of the screen


class Failure(Exception):
    """A drawn failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the lines of a row have.

    Attributes:
        name: What it is called in the table.
        spreads: Coefficients of variation of a call's seconds.
        heavy: Whether these follow a lognormal distribution, else a gamma distribution.
        failing: Shares of calls that fail, and are made again after a delay.
        limited: Whether there are rate limits.
        timeout: Times the mean after which a call is ended; infinite for never.
    """

    name: str
    spreads: Sequence[float] = (0.1, 0.3, 0.6, 1.0)
    heavy: bool = False
    failing: Sequence[float] = (0.0,)
    limited: bool = False
    timeout: float = math.inf


KINDS = (
    Kind(name="plain"),
    Kind(name="limits", limited=True),
    Kind(name="heavy tails", spreads=(0.8, 1.2, 1.6), heavy=True),
    Kind(name="retries", failing=(0.05, 0.15, 0.3)),
    Kind(name="all of it", spreads=(0.5, 1.0, 1.5), heavy=True, failing=(0.02, 0.1), limited=True, timeout=8.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnStage:
    """A stage of a drawn line."""

    slots: int
    mean: float
    spread: float
    heavy: bool
    failing: float

    def draw(self, numbers: random.Random) -> tuple[float, BaseException | None]:
        """Seconds of a call, and its error."""
        if self.heavy:
            sigma = math.sqrt(math.log(1 + self.spread**2))
            seconds = numbers.lognormvariate(math.log(self.mean) - sigma**2 / 2, sigma)
        else:
            shape = 1 / self.spread**2
            seconds = numbers.gammavariate(shape, self.mean / shape)
        return seconds, Failure() if numbers.random() < self.failing else None


@dataclass(slots=True)
class Drawn:
    """A drawn line, and how many items go through."""

    kind: Kind
    seed: int
    items: int = 0
    stages: list[DrawnStage] = field(default_factory=list[DrawnStage])
    limits: dict[int, float] = field(default_factory=dict[int, float])

    @classmethod
    def of(cls, kind: Kind, seed: int) -> Drawn:
        """Draw one: two to five stages of about the same capacity, a few items a second."""
        numbers = random.Random(f"{kind.name} {seed}")
        rate = numbers.uniform(2, 10)
        drawn = cls(kind, seed, items=round(math.exp(numbers.uniform(math.log(500), math.log(5000)))))
        for place in range(numbers.randint(2, 5)):
            slots, failing = numbers.randint(2, 24), numbers.choice(list(kind.failing))
            mean = slots * (1 - failing) / rate / numbers.uniform(1, 2)
            drawn.stages.append(
                DrawnStage(
                    slots=slots, mean=mean, spread=numbers.choice(list(kind.spreads)), heavy=kind.heavy, failing=failing
                )
            )
            if kind.limited and numbers.random() < 0.4:
                drawn.limits[place] = rate / (1 - failing) * numbers.uniform(1, 1.5)
        return drawn

    def pipeline(self, time: VirtualTime) -> Pipeline:
        """The same pipeline each time, with the same calls."""
        make: Any = Pipeline
        made: Pipeline = make(
            *(
                Stage(
                    f"s{place}",
                    _same,
                    executor=DrawnCalls(time, partial(stage.draw, random.Random(f"{self.seed} {place}"))),
                    concurrency=stage.slots,
                    retry=Retry(max_attempts=6, initial=0.5, retry_on=Exception),
                    timeout=None if self.kind.timeout == math.inf else stage.mean * self.kind.timeout,
                    rate_limit=RateLimiter(1, 1 / self.limits[place]) if place in self.limits else None,
                )
                for place, stage in enumerate(self.stages)
            ),
            name="drawn",
        )
        return made


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Said:
    """What was said at one moment.

    Attributes:
        left: Seconds that were left in fact.
        total: Seconds of the whole run.
        simulated: What the simulation said; its interval.
        straight: What the straight line said; None for nothing.
        cpu: Seconds of a processor that the estimate took.
    """

    left: float
    total: float
    simulated: tuple[float, float, float] | None
    straight: float | None
    cpu: float


def watched(drawn: Drawn) -> list[Said]:
    """Run a line to its end, then once more, and ask at each moment."""
    random.seed(drawn.seed)  # of the jitter of retries
    time = VirtualTime()
    whole = drawn.pipeline(time).start(range(drawn.items), scheduler=time)
    time.run()
    total = whole.seconds
    random.seed(drawn.seed)
    time = VirtualTime()
    pipeline = drawn.pipeline(time)
    run = pipeline.start(range(drawn.items), scheduler=time)
    meter = Meter(run.snapshot, total=drawn.items)
    remaining = Remaining(pipeline, total=drawn.items)
    said: list[Said] = []
    state = random.getstate()
    for moment in range(MOMENTS):
        at = total * (_FROM + (_TO - _FROM) * moment / (MOMENTS - 1))
        while time.seconds + _LOOK < at:
            time.run(until=time.seconds + _LOOK)
            meter.read()
        time.run(until=at)
        figures = meter.read()
        state = random.getstate()
        began = real_time.thread_time()
        outlook = remaining.estimate(run.snapshot(), run.standing())
        cpu = real_time.thread_time() - began
        random.setstate(state)
        simulated = None
        if outlook is not None:
            simulated = (outlook.seconds.middle, outlook.seconds.low, outlook.seconds.high)
        said.append(Said(total - at, total, simulated, figures.left, cpu))
    return said


def _share(values: Sequence[bool]) -> str:
    return f"{sum(values) / max(1, len(values)):.0%}"


def _row(name: str, said: Sequence[Said]) -> list[str]:
    told = [one for one in said if one.simulated is not None]
    off = [abs(one.simulated[0] - one.left) for one in told if one.simulated is not None]
    straight = [math.inf if one.straight is None else abs(one.straight - one.left) for one in said]
    holds = [one.simulated[1] <= one.left <= one.simulated[2] for one in told if one.simulated is not None]
    widths = [(one.simulated[2] - one.simulated[1]) / 2 / one.left for one in told if one.simulated is not None]
    relative = [error / one.left for error, one in zip(off, told, strict=True)]
    return [
        name,
        f"{len(said):,}",
        _share([error <= 0.1 * one.total for error, one in zip(off, told, strict=True)]),
        _share([error <= 0.1 * one.total for error, one in zip(straight, said, strict=True)]),
        _share([error <= 0.1 * one.left for error, one in zip(off, told, strict=True)]),
        _share([error <= 0.1 * one.left for error, one in zip(straight, said, strict=True)]),
        f"{statistics.median(relative):.1%}",
        f"{statistics.median(error / one.left for error, one in zip(straight, said, strict=True)):.1%}",
        _share(holds),
        f"{statistics.median(widths):.0%}",
        f"{1000 * statistics.median(one.cpu for one in said):.0f} ms",
    ]


def main(arguments: list[str] | None = None, write: Callable[[str], object] = print) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=20, help="lines of each kind")
    lines = parser.parse_args(arguments).lines
    rows: list[list[str]] = []
    everything: list[Said] = []
    for kind in KINDS:
        said = [one for seed in range(lines) for one in watched(Drawn.of(kind, seed))]
        everything += said
        rows.append(_row(kind.name, said))
        print(rows[-1], file=sys.stderr)
    rows.append(_row("all", everything))
    header = [
        "lines",
        "moments",
        "within 10% of all, simulated",
        "straight line",
        "within 10% of the rest, simulated",
        "straight line",
        "median error of the rest, simulated",
        "straight line",
        "interval holds",
        "half its width",
        "CPU",
    ]
    write(markdown(header, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
