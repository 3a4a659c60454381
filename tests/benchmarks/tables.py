"""The results as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from .contenders import CONTENDERS
from .measure import Result, ratios
from .workload import Job

MOST_EXTRA_MB = 5.0
LEAST_SHARE = 0.99


def overhead(results: Mapping[str, Result]) -> str:
    """Microseconds an item, and rxpipe's time over each rival's."""
    header = ["", "items", "µs/item", "CPU µs/item", "rxpipe / it (range)", "at most", "reached"]
    return markdown(header, [[*_name(result), *_overhead_row(result, results)] for result in results.values()])


def _overhead_row(result: Result, results: Mapping[str, Result]) -> Iterable[str]:
    if not result.samples:
        return [_why(result)]
    contender = CONTENDERS[result.task.key]
    row = [
        f"{result.task.job.items:,}",
        f"{result.per_item(result.median(lambda sample: sample.seconds)):.1f}",
        f"{result.per_item(result.median(lambda sample: sample.cpu_seconds)):.1f}",
    ]
    ours = results.get(contender.ours)
    found = ratios(ours, result) if ours else []
    if not found:
        return row
    ratio = statistics.median(found)
    row.append(f"{ratio:.3f} ({min(found):.3f} to {max(found):.3f})")
    if contender.limit is not None:
        row += [f"{contender.limit:.3f}", _verdict(ratio <= contender.limit)]
    return row


def latency(results: Mapping[str, Result]) -> str:
    """Seconds of a run of sleeping stages, against the shortest that is possible."""
    header = ["", "seconds", "share of the bound", "share of its own bound", "at least", "reached"]
    return markdown(header, [[*_name(result), *_latency_row(result)] for result in results.values()])


def _latency_row(result: Result) -> Iterable[str]:
    if not result.samples:
        return [_why(result)]
    contender = CONTENDERS[result.task.key]
    seconds = result.median(lambda sample: sample.seconds)
    job = result.task.job
    share = job.bound() / seconds
    row = [f"{seconds:.3f}", f"{share:.1%}"]
    if contender.one_at_a_time:
        return [*row, f"{job.bound_one_at_a_time() / seconds:.1%}"]
    if contender.ours:
        return row
    return [*row, "", f"{LEAST_SHARE:.0%}", _verdict(share >= LEAST_SHARE)]


def start(results: Mapping[str, Result]) -> str:
    """Milliseconds from nothing to the end of a run of a few items."""
    header = ["", "ms/run", "CPU ms/run"]
    return markdown(header, [[*_name(result), *_start_row(result)] for result in results.values()])


def _start_row(result: Result) -> Iterable[str]:
    if not result.samples:
        return [_why(result)]
    wall = result.median(lambda sample: sample.seconds)
    return [f"{wall * 1e3:.2f}", f"{result.median(lambda sample: sample.cpu_seconds) * 1e3:.2f}"]


def memory(few: Mapping[str, Result], many: Mapping[str, Result]) -> str:
    """Peak memory of a short run and of a long one."""
    header = [
        "",
        *(f"{_items(results):,} items, MB" for results in (few, many)),
        "more",
        "at most",
        "reached",
    ]
    return markdown(header, [[*_name(many[key]), *_memory_row(few[key], many[key])] for key in many])


def _memory_row(few: Result, many: Result) -> Iterable[str]:
    if not few.samples or not many.samples:
        return [_why(many if few.samples else few)]
    small, large = (result.median(lambda sample: sample.peak_mb) for result in (few, many))
    row = [f"{small:.1f}", f"{large:.1f}", f"{large - small:.1f}"]
    if CONTENDERS[many.task.key].ours:
        return row
    return [*row, f"{MOST_EXTRA_MB:.1f}", _verdict(large - small <= MOST_EXTRA_MB)]


def describe(job: Job) -> str:
    """A job's stages and its bound in words."""
    stages = ", ".join(f"{seconds * 1e3:.0f}" for seconds in job.latencies)
    return f"stages of {stages} ms; the bound is {job.bound():.2f} s"


def markdown(header: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures. Short rows are filled up."""
    filled = [[*row, *[""] * len(header)][: len(header)] for row in rows]
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *filled])


def _name(result: Result) -> list[str]:
    return [CONTENDERS[result.task.key].title]


def _why(result: Result) -> str:
    return result.missing or f"**failed**: {result.failure}"


def _items(results: Mapping[str, Result]) -> int:
    return next(iter(results.values())).task.job.items


def _verdict(good: bool) -> str:
    return "yes" if good else "**no**"
