"""What a stage has done, for the report of a run."""

from __future__ import annotations

from rxpipe.operators.stages.settings import StageStats
from rxpipe.pipeline.outcome import StageReport


def stage_report(stage: StageStats, began: float, seconds: float) -> StageReport:
    """Its counts as a report has them.

    Args:
        stage: The counts.
        began: When the run began.
        seconds: How long it has lasted.
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
        usage=stage.usage,
        dropped=stage.dropped,
        sent_back=stage.sent_back,
        cached=stage.cached,
        saved=stage.saved,
    )
