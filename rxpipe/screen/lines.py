"""Progress without a screen to draw on: a plain line now and then, for logs."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Protocol, Self

from rxpipe.screen.figures import Figures, Meter
from rxpipe.screen.texts import about, clock, cost, number, per_second, plural, tokens

SECONDS = 5.0  # between two lines
_DIGITS = re.compile(r"\d+")  # the numbers in which texts of one kind differ
_MANY = 0.05  # the least share of 429s among all calls that is worth a message
_STEP = 1.0  # seconds between two checks whether a run that stays waits


def progress_line(figures: Figures) -> str:
    """Returns one line: ``0:05  519 of 1,000 written, 0 failed, 13 in flight, 104/s, 0:05 left``.

    The line also has the usage, and the number of 429s if there were any: ``cost 0.42 of about 3.10, 12 429s``. If
    items have children, the line begins with ``100 of 250 taken, 700 spawned``.
    """
    of_total = "" if figures.total is None else f" of {number(max(0, figures.total - figures.before))}"
    came: list[str] = []
    if figures.expands:
        of_total = "" if figures.before else of_total  # a continued run takes up children again, too
        came = [f"{number(figures.taken)}{of_total} taken", f"{number(figures.spawned)} spawned"]
        of_total = ""
    parts = [
        *came,
        f"{number(figures.written)}{of_total} written",
        f"{number(figures.failed)} failed",
        *rare_texts(figures),
        f"{number(figures.in_flight)} in flight",
        f"{per_second(figures.rate)}/s",
    ]
    if spent := spent_text(figures):
        parts.append(spent)
    if pushed_back := sum(stage.pushed_back for stage in figures.stages):
        parts.append(f"{number(pushed_back)} 429s")
    if left := left_text(figures):
        parts.append(left)
    return f"{clock(figures.seconds)}  {', '.join(parts)}"


def rare_texts(figures: Figures) -> list[str]:
    """Returns the counts of other ends, of items sent back and of cached results, without zeros."""
    counts = {
        "dropped": figures.dropped,
        "expanded": figures.expanded,
        "collected": figures.collected,
        "sent back": sum(stage.sent_back for stage in figures.stages),
        "cached": sum(stage.cached for stage in figures.stages),
    }
    return [f"{number(count)} {name}" for name, count in counts.items() if count]


def left_text(figures: Figures) -> str:
    """Returns the time left: ``about 3 min left (2 to 4)``; without a forecast ``3:05 left``."""
    if figures.outlook is not None:
        return about(figures.outlook.seconds, " left")
    return "" if figures.left is None else f"{clock(figures.left)} left"


def spent_text(figures: Figures) -> str:
    """Returns the usage so far and at the end: as money, or as tokens if no prices are known."""
    usage, projected = figures.usage, figures.projected
    if usage.cost and figures.outlook is not None and (whole := figures.outlook.cost) is not None:
        return f"cost {cost(usage.cost)} of about {cost(whole.middle)} ({cost(whole.low)} to {cost(whole.high)})"
    if usage.cost:
        return f"cost {cost(usage.cost)}" + (f" of about {cost(projected.cost)}" if projected else "")
    if usage.tokens:
        return f"{tokens(usage.tokens)} tokens" + (f" of about {tokens(projected.tokens)}" if projected else "")
    return ""


class Refused(Protocol):
    """A stage that counts the calls that its server refused."""

    @property
    def done(self) -> int: ...  # noqa: D102
    @property
    def failed(self) -> int: ...  # noqa: D102
    @property
    def retried(self) -> int: ...  # noqa: D102
    @property
    def pushed_back(self) -> int: ...  # noqa: D102
    @property
    def refusal(self) -> str: ...  # noqa: D102


def refusal_text(stages: Sequence[Refused]) -> str:
    """Returns the server's text in its last 429: ``the last 429: main: 429: slow down``; empty if there were few."""
    refused = sum(stage.pushed_back for stage in stages)
    others = sum(stage.done + stage.failed + stage.retried for stage in stages)
    if not refused or refused < _MANY * (refused + others):
        return ""
    said = max(stages, key=lambda stage: stage.pushed_back).refusal
    return f"the last 429: {said}" if said else ""


WAITS = "waiting for new items"
"""The text for a run that stays and has nothing to do."""


def interrupt_line(count: int, in_flight: int, grace: float | None) -> str:
    """Returns the text about the effect of the first or the second Ctrl-C."""
    if not in_flight:
        return "stopping: no items are in flight"
    items = plural(in_flight, "item")
    if count > 1:
        return f"cancelling {items}"
    if grace is None:
        return f"stopping: finishing {items}, Ctrl-C again to cancel them"
    if not grace:
        return f"stopping: cancelling {items}"
    return f"stopping: finishing {items} within {grace:g} s, Ctrl-C again to cancel them"


class Lines:
    """Writes the lines to standard error while the object is entered.

    Args:
        grace: Seconds that items get to finish after the first Ctrl-C; None for no limit.
        quiet: Write only the effect of Ctrl-C, and that a run that stays has nothing to do.
        seconds: Seconds from one line to the next.
    """

    def __init__(self, grace: float | None, *, quiet: bool = False, seconds: float = SECONDS) -> None:
        self._grace = grace
        self._quiet = quiet
        self._seconds = seconds
        self._meter: Meter | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, name="rxpipe-progress", daemon=True)

    def begin(self, meter: Meter) -> None:
        """Begin to write: the run has started."""
        self._meter = meter
        if not self._quiet or meter.stays:
            self._thread.start()

    def interrupted(self, number: signal.Signals, count: int) -> None:
        """Write the effect of a signal, the first or the second."""
        if self._meter is not None:
            print(interrupt_line(count, self._meter.read().in_flight, self._grace), file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _write(self) -> None:
        told: set[str] = set()
        refusals: set[str] = set()
        has_waited, left = False, self._seconds
        # That there is nothing to do is written soon, and once: the state may last for days.
        step = min(_STEP, self._seconds) if self._meter is not None and self._meter.stays else self._seconds
        while self._meter is not None and not self._over.wait(step):
            left -= step
            figures = self._meter.read()
            lines: list[str] = []
            if figures.waits:
                if not has_waited:
                    lines.append(WAITS if self._quiet else f"{progress_line(figures)}, {WAITS}")
                has_waited = True
            elif left <= 0 and not self._quiet:
                has_waited = False
                lines.append(progress_line(figures))
                if (subject := figures.advice.partition(":")[0]) and subject not in told:
                    told = {subject}  # until something else holds the run up
                    lines.append(f"      {figures.advice}")
                lines += [f"      {stall}" for stall in figures.stalls]
                if (refusal := refusal_text(figures.stages)) and (kind := _DIGITS.sub("#", refusal)) not in refusals:
                    refusals.add(kind)
                    lines.append(f"      {refusal}")
            left = self._seconds if left <= 0 else left
            if lines:
                print(*lines, sep="\n", file=sys.stderr, flush=True)
