"""The report of a run."""

from __future__ import annotations

from rxpipe.insight.advice import Advice
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.stages.settings import StageStats
from rxpipe.pipeline.outcome import Report, StageReport
from rxpipe.pipeline.run.counts import Counts


def report_of(run: Counts, advice: Advice) -> Report:
    """Returns the counts so far as a report.

    Args:
        run: The counts.
        advice: The bottleneck of the run, and the gain of a change.
    """
    seconds = run.seconds
    return Report(
        taken=run.taken,
        written=run.written,
        failed=run.failed,
        cancelled=run.cancelled,
        spawned=run.spawned,
        dropped=run.dropped,
        expanded=run.expanded,
        collected=run.collected,
        missing=None if run.quota is None else max(0, run.quota.missing),
        exhausted=run.is_exhausted,
        run=run.number,
        finished=run.is_finished,
        written_before=run.before[0],
        failed_before=run.before[1],
        usage=run.usage,
        usage_before=run.usage_before,
        saved=sum((stage.saved for stage in run.stages), Usage()),
        seconds=seconds,
        first_seconds=run.first_seconds,
        most_in_flight=run.most_in_flight,
        stages=tuple(stage_report(stage, run.began, seconds) for stage in run.stages),
        advice=advice,
        errors=tuple(run.errors),
        drops=tuple(run.drops),
    )


def stage_report(stage: StageStats, began: float, seconds: float) -> StageReport:
    """Returns a stage's counts as a report.

    Args:
        stage: The counts.
        began: When the run began, in seconds of its clock.
        seconds: Seconds that the run has lasted.
    """
    slot_seconds = stage.slot_seconds(began, began + seconds)
    return StageReport(
        name=stage.name,
        concurrency=int(stage.concurrency),
        done=stage.done,
        failed=stage.failed,
        retried=stage.retried,
        abandoned=stage.abandoned,
        busy_seconds=stage.busy,
        utilization=min(1.0, stage.busy / slot_seconds) if slot_seconds else 0.0,
        pushed_back=stage.pushed_back,
        refusal=stage.refusal,
        usage=stage.usage,
        dropped=stage.dropped,
        sent_back=stage.sent_back,
        cached=stage.cached,
        saved=stage.saved,
    )
