"""What changed between two runs, and what it gave, in a line or two."""

from __future__ import annotations

from rxpipe.cli.views.forecast import time_text
from rxpipe.cli.views.past_run import PastRun
from rxpipe.screen.texts import cost, number, per_second

LEAST = 0.005  # the least change of a figure that is told


def headline(first: PastRun, last: PastRun) -> str:
    """Returns what changed and what it gave.

    ::

        Changed: grading 8 → 16 slots. 29% sooner (8.32 s → 5.94 s), the same cost.

    Says only what is known. Durations are compared if both runs are finished and wrote equally many rows.
    """
    slots, gains = _slots(first, last), [text for text in (_speed(first, last), _cost(first, last)) if text]
    told = f"Changed: {slots}. " if slots else ""
    gave = ", ".join(gains)
    return f"{told}{gave[:1].upper()}{gave[1:]}." if gave else told.rstrip()


def _slots(first: PastRun, last: PastRun) -> str:
    changes: dict[str, list[str]] = {}
    for name in last.row.stages:
        before, after = first.stage(name), last.stage(name)
        if before is None or after is None or None in (before.concurrency, after.concurrency):
            continue
        if before.concurrency != after.concurrency:
            changes.setdefault(f"{before.concurrency:,} → {after.concurrency:,} slots", []).append(name)
    return "; ".join(f"{_listed(names)} {change}" for change, names in changes.items())


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _speed(first: PastRun, last: PastRun) -> str:
    if not first.written or not last.written or not first.rate or not last.rate:
        return ""
    if first.written == last.written and first.row.state == last.row.state == "finished":
        change = last.seconds / first.seconds - 1
        how = "as fast" if abs(change) < LEAST else f"{abs(change):.0%} {'sooner' if change < 0 else 'later'}"
        return f"{how} ({time_text(first.seconds)} → {time_text(last.seconds)})"
    change = last.rate / first.rate - 1
    more = "as many" if abs(change) < LEAST else f"{abs(change):.0%} {'more' if change > 0 else 'fewer'}"
    rows = f"{number(first.written)} → {number(last.written)} rows, " if first.written != last.written else ""
    return f"{rows}{more} rows/s ({per_second(first.rate)} → {per_second(last.rate)})"


def _cost(first: PastRun, last: PastRun) -> str:
    before, after = first.row.usage.cost, last.row.usage.cost
    of_a_row = ""
    if first.written != last.written:
        before, after = (1_000 * run.row.usage.cost / max(1, run.written) for run in (first, last))
        of_a_row = " of 1,000 rows"
    if not before or not after:
        return ""
    change = after / before - 1
    if abs(change) < LEAST:
        return f"the same cost{of_a_row}"
    how = "lower" if change < 0 else "higher"
    return f"{abs(change):.0%} {how} cost{of_a_row} ({cost(before)} → {cost(after)})"
