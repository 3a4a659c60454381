"""The summary at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from rxpipe.operators.core.running_call import Usage
from rxpipe.pipeline.outcome import CommonError, Report, StageReport
from rxpipe.screen.lines import refusal_text
from rxpipe.screen.tables import Column, print_table, usage_columns
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import cell_text, cost_unit, duration, number, per_second, plural, used

_NEARLY = 0.9
_TWO_SHARES = "busy: while the run was full; slots used: of the whole run, its beginning and end included"


def print_summary(
    report: Report,
    rows: str,
    stopped_by: str | None,
    place: str = "",
    goes_on: str = "the same command",
) -> None:
    """Write the summary to standard output.

    Args:
        report: The run's report.
        rows: The place of the run's rows.
        stopped_by: What stopped the run early, or None.
        place: The options by which other commands find the run's database.
        goes_on: The command that continues an unfinished run, in words.
    """
    console = SafeConsole()
    if stopped_by is not None:
        console.print(hanging(console, Text(), f"stopped by {stopped_by}", "bold yellow"), soft_wrap=True)
    console.print(counts_line(report))
    if report.taken or report.run is None:
        console.print(times_line(report))
    if report.written_before or report.failed_before:
        console.print(before_line(report))
    if report.usage + report.usage_before != Usage():
        console.print(usage_lines(report), soft_wrap=True)
    print_saved(console, sum(stage.cached for stage in report.stages), report.saved)
    console.print()
    if report.taken or report.run is None:
        print_table(console, stage_columns(report.stages, report.bottleneck))
        console.print()
        if refusal := refusal_text(report.stages):
            console.print(hanging(console, Text(), refusal, "yellow"), soft_wrap=True)
            console.print()
        if report.advice is not None and report.advice.name is not None:
            console.print(hanging(console, Text(), report.advice.sentence, "cyan"), soft_wrap=True)
            if _was_less_busy_in_all(report):
                console.print(hanging(console, Text(), _TWO_SHARES, "dim"), soft_wrap=True)
            console.print()
    # Users copy from these lines. The terminal breaks them, and can put them together again.
    kept = "" if report.run is None else f", run {report.run}"
    console.print(Text(f"rows: {rows}{kept}"), soft_wrap=True)
    print_reasons(console, "errors, the commonest first:", report.errors, report.failed)
    print_drops(console, report.drops, report.dropped)
    if report.missing:
        why = "the source has no more" if report.exhausted else "the run ended early"
        console.print(f"{number(report.missing)} rows are missing: {why}")
    if report.run is not None and not report.finished:
        console.print(f"the run is not finished: {goes_on} goes on with it", soft_wrap=True)
    if report.run is not None and report.failed + report.failed_before:
        run = f"{report.run}{place}"
        hints = f"rxpipe failures {run} lists what failed", f"rxpipe requeue {run} has it tried again"
        console.print(Text("\n" + "\n".join(hints), style="dim"), soft_wrap=True)


def _was_less_busy_in_all(report: Report) -> bool:
    """Returns True if the table shows the bottleneck as less busy than the sentence does."""
    return any(stage.name == report.bottleneck and stage.utilization < _NEARLY for stage in report.stages)


def counts_line(report: Report) -> Text:
    """Returns how items ended: ``1,000 taken = 998 written + 2 failed + 0 cancelled``."""
    came = f"{number(report.taken)} taken" + (f" + {number(report.spawned)} spawned" if report.spawned else "")
    rare = {"dropped": report.dropped, "expanded": report.expanded, "collected": report.collected}
    return Text.assemble(
        (came, "bold"),
        " = ",
        (f"{number(report.written)} written", "green"),
        " + ",
        (f"{number(report.failed)} failed", "bold red" if report.failed else ""),
        *(f" + {number(count)} {name}" for name, count in rare.items() if count),
        " + ",
        (f"{number(report.cancelled)} cancelled", "bold yellow" if report.cancelled else ""),
    )


def before_line(report: Report) -> Text:
    """Returns the earlier part of the run: ``run 3 was continued: 998 written and 2 failed before``."""
    before = f"{number(report.written_before)} written and {number(report.failed_before)} failed before"
    advice = "requeue has those tried again" if report.failed_before else "--fresh begins a new run"
    left = f"; nothing was left to do, {advice}" if report.finished and not report.taken else ""
    return Text(f"run {report.run} was continued: {before}{left}", style="bold")


def usage_lines(report: Report) -> Text:
    """Returns the usage of calls now, before and in total, a line each: ``1,234 prompt and 567 completion tokens``."""
    now = used(report.usage) if report.usage != Usage() else ""
    before = f"before: {used(report.usage_before)}" if report.usage_before != Usage() else ""
    whole = f"in all: {used(report.usage_before + report.usage)}" if now and before else ""
    lines = "\n".join(filter(None, (now, before, whole)))
    return Text(lines + cost_unit(report.usage_before + report.usage))


def print_saved(console: Console, cached: int, saved: Usage) -> None:
    """Write the savings: ``saved by the cache: 12 calls, 1,234 prompt and 567 completion tokens, cost 0.42``."""
    if cached:
        what = f", {used(saved)}" if saved != Usage() else ""
        console.print(f"saved by the cache: {plural(cached, 'call')}{what}{cost_unit(saved)}", soft_wrap=True)


def times_line(report: Report) -> Text:
    """Returns the times of the run."""
    first = "no row" if report.first_seconds is None else f"first row after {duration(report.first_seconds)}"
    ended = report.written + report.failed + report.dropped + report.expanded + report.collected
    rate = ended / report.seconds if report.seconds else None
    most = f"at most {number(report.most_in_flight)} in flight"
    return Text(f"{duration(report.seconds)}, {first}, {per_second(rate)} items/s, {most}")


def stage_columns(stages: Sequence[StageReport], bottleneck: str | None) -> list[Column]:
    """Returns the table of the stages."""
    is_bottleneck = [stage.name == bottleneck for stage in stages]
    columns = [
        Column(
            title="stage",
            cells=[stage.name for stage in stages],
            styles=["bold" if one else "" for one in is_bottleneck],
            justify="left",
        ),
        Column(title="done", cells=[number(stage.done) for stage in stages]),
        Column(
            title="failed",
            cells=[number(stage.failed) for stage in stages],
            styles=["bold red" if stage.failed else "" for stage in stages],
            rank=1,
        ),
        Column(title="retried", cells=[number(stage.retried) for stage in stages], rank=3),
        *rare_column("dropped", [stage.dropped for stage in stages]),
        *rare_column("sent back", [stage.sent_back for stage in stages]),
        *rare_column("cached", [stage.cached for stage in stages]),
        *_pushed_back_column(stages),
        Column(
            title="abandoned",
            cells=[number(stage.abandoned) for stage in stages],
            rank=1 if any(stage.abandoned for stage in stages) else 5,
        ),
        Column(title="busy s", cells=[f"{stage.busy_seconds:,.2f}" for stage in stages], rank=4),
        Column(title="slots used", cells=[f"{stage.utilization:.0%} of {stage.concurrency}" for stage in stages]),
    ]
    columns += usage_columns([stage.usage for stage in stages], rank=1)
    if any(is_bottleneck):
        marks = ["◀ bottleneck" if one else "" for one in is_bottleneck]
        columns.append(Column(title="", cells=marks, styles=["yellow"] * len(stages), rank=2, justify="left"))
    return columns


def rare_column(title: str, counts: Sequence[int], *, rank: int = 1) -> list[Column]:
    """Returns a column of counts, if any count is not 0."""
    return [Column(title=title, cells=[number(count) for count in counts], rank=rank)] if any(counts) else []


def _pushed_back_column(stages: Sequence[StageReport]) -> list[Column]:
    if not any(stage.pushed_back for stage in stages):
        return []
    cells = [number(stage.pushed_back) for stage in stages]
    styles = ["yellow" if stage.pushed_back else "" for stage in stages]
    return [Column(title="429s", cells=cells, styles=styles, rank=3)]


def print_drops(console: Console, drops: Sequence[CommonError], total: int) -> None:
    """Write why items were dropped, if any were. ``total`` is the number of dropped items."""
    told = [replace(drop, text=drop.text or "(no reason given)") for drop in drops]
    print_reasons(console, "dropped items, the commonest reason first:", told, total)


def print_reasons(console: Console, title: str, reasons: Sequence[CommonError], total: int) -> None:
    """Write the most common errors or reasons below a title, if any, and how many of ``total`` had others."""
    if reasons:
        console.print(Text(f"\n{title}", style="bold"))
        for one in reasons:
            console.print(failure_line(console, one), soft_wrap=True)
        if (others := total - sum(one.count for one in reasons)) > 0:
            console.print(Text(f"{number(others):>9}  for other reasons", style="dim"))


def failure_line(console: Console, failed: CommonError) -> Text:
    """Returns an error or a reason, and how many items had it."""
    head = Text(f"{number(failed.count):>9}  ")
    if failed.stage:
        head.append(f"{cell_text(failed.stage)}  ", "bold")
    return hanging(console, head, failed.text if failed.same else f"{failed.text}  (numbers vary)")
