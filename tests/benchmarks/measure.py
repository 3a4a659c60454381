"""Rounds of measurements, each in a fresh process: A B C, A B C, so that a slower moment slows all alike."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .workload import Job

CHECKOUT = Path(__file__).parents[2]
PATIENCE = 180.0
"""Seconds after which a measurement is taken to hang."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one process measured.

    Args:
        seconds: Of one run, by the wall clock.
        cpu_seconds: Of one run, on all cores.
        peak_mb: The largest resident size of the process.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is measured: a contender's runs of a job."""

    key: str
    job: Job
    runs: int = 1
    warm: bool = True


@dataclass(kw_only=True)
class Result:
    """A task's samples, one a round; or why there are none.

    Args:
        task: What was measured.
        samples: In the order of the rounds.
        missing: What could not be imported, if that is why.
        failure: What went wrong, if something did.
    """

    task: Task
    samples: list[Sample] = field(default_factory=list[Sample])
    missing: str = ""
    failure: str = ""

    def median(self, figure: Callable[[Sample], float]) -> float:
        """The median of a figure over the rounds."""
        return statistics.median(figure(sample) for sample in self.samples)

    def per_item(self, seconds: float) -> float:
        """Seconds of a run as microseconds an item."""
        return seconds / self.task.job.items * 1e6


class Failed(Exception):
    """A measurement that went wrong, or that hung."""


class Missing(Exception):
    """A contender that is not installed."""


def ratios(ours: Result, other: Result) -> list[float]:
    """Our time an item over the other's, round by round; only rounds that measured both count."""
    return [
        ours.per_item(mine.seconds) / other.per_item(its.seconds)
        for mine, its in zip(ours.samples, other.samples, strict=False)
    ]


def rounds(tasks: Iterable[Task], repeats: int, progress: Callable[[str], None]) -> Mapping[str, Result]:
    """Measure each task once a round.

    Args:
        tasks: At most one for each contender.
        repeats: How many rounds.
        progress: Told of each measurement.

    Returns:
        The results by the contender's key. A contender that failed once is measured no more.
    """
    results = {task.key: Result(task=task) for task in tasks}
    for number in range(1, repeats + 1):
        for key, result in results.items():
            if result.missing or result.failure:
                continue
            try:
                sample = measure(result.task)
            except Missing as missing:
                result.missing = str(missing)
            except Failed as failed:
                result.failure = str(failed)
            else:
                result.samples.append(sample)
            outcome = result.missing or result.failure or f"{result.samples[-1].seconds:.3f} s"
            progress(f"{number}/{repeats} {key}: {outcome}")
    return results


def measure(task: Task) -> Sample:
    """Run a task in a fresh process.

    This process must stay the smaller one, and so imports no contender: on Linux a child's peak starts at
    the size of its parent.

    Raises:
        Missing: the contender cannot be imported.
        Failed: the process failed, lost or doubled an item, or hung.
    """
    order = {
        "key": task.key,
        "items": task.job.items,
        "latencies": task.job.latencies,
        "runs": task.runs,
        "warm": task.warm,
    }
    command = [sys.executable, "-m", f"{__package__}.child", json.dumps(order)]
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except subprocess.TimeoutExpired:
        raise Failed(f"hung: no end within {PATIENCE:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise Failed(_last_error(error.stderr) or f"exit status {error.returncode}") from None
    answer = json.loads(done.stdout)
    if "missing" in answer:
        raise Missing(answer["missing"])
    return Sample(**answer)


def _last_error(stderr: str) -> str:
    """The last line that names an error, without the frame that exception groups draw around it."""
    lines = [line.strip(" |+-") for line in stderr.splitlines()]
    return next((line for line in reversed(lines) if ": " in line), "".join(lines[-1:]))
