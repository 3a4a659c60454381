"""The health of an open pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from rxpipe.pipeline.open.admission_queue import AdmissionQueue
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.stage import Stage

_PATIENCE = 60.0  # seconds without progress

Check = Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The health of an open pipeline.

    Attributes:
        status: ``alive``; ``draining``: it finishes its items, and takes no more; ``stalled``: it has items and none
            has made progress for too long, or a check reports trouble with the pipeline's inputs; ``closed``.
        reason: Why the pipeline is not alive; empty if it is.
        held: IDs that were admitted and have not left the stages. With a large ``capacity``, some may not have entered
            the stages yet.
        waiting: IDs that wait for admission.
        unfinished: Items that have not ended: the IDs above, their children, items that wait to be written, and items
            that an earlier process left.
    """

    status: Literal["alive", "draining", "stalled", "closed"]
    reason: str
    held: int
    waiting: int
    unfinished: int


def health_of(queue: AdmissionQueue, run: Run | None, stalled_after: float, checks: Iterable[Check] = ()) -> Health:
    """Returns the health of an open pipeline.

    Args:
        queue: The pipeline's queue.
        run: The pipeline's run; None before it has begun.
        stalled_after: Seconds without progress after which the pipeline is stalled.
        checks: Each returns the trouble of an input of the pipeline, or an empty text.
    """
    unfinished = queue.not_taken + (0 if run is None else run.in_flight)
    status, reason = _judged(queue, run, stalled_after, unfinished)
    if status == "alive" and (trouble := "; ".join(filter(None, (check() for check in checks)))):
        status, reason = "stalled", trouble
    return Health(status=status, reason=reason, held=queue.held, waiting=queue.waiting, unfinished=unfinished)


def patience(stages: Iterable[Stage]) -> float:
    """Returns the default of ``stalled_after``, in seconds.

    Long timeouts, delays and batches of stages make it longer.
    """
    waits = [
        (
            stage.timeout or 0.0,
            0.0 if stage.retry is None else stage.retry.max_delay,
            0.0 if stage.batch is None else stage.batch.max_seconds,
        )
        for stage in stages
    ]
    return max(_PATIENCE, *(1.5 * max(each) for each in waits))


def _judged(
    queue: AdmissionQueue, run: Run | None, stalled_after: float, unfinished: int
) -> tuple[Literal["alive", "draining", "stalled", "closed"], str]:
    if run is None:
        return "closed", "it is not open"
    if run.finished.done():
        error = None if run.finished.cancelled() else run.finished.exception()
        return "closed", "it was closed" if error is None else f"it failed: {type(error).__name__}: {error}"
    silence = queue.silence
    if unfinished and silence > stalled_after:
        stalls = [stall.sentence for stall in run.insight().stalls]
        return "stalled", "; ".join([f"nothing has happened for {silence:.0f} s: {_whereabouts(run)}", *stalls])
    if queue.closed:
        return "draining", f"it is closing, and finishes {unfinished} that it has"
    return "alive", ""


def _whereabouts(run: Run) -> str:
    at = [f"{stage.running} calls of {stage.name} run" for stage in run.stages if stage.running]
    at += [f"{stage.waiting} wait for {stage.name}" for stage in run.stages if stage.waiting]
    inside = sum(stage.running + stage.waiting for stage in run.stages)
    if parents := run.waiting_for_children:
        at.append(f"{parents} wait for their children")
    if (between := run.in_flight - inside - parents) > 0:
        at.append(f"{between} are between stages, or wait to be written")
    return ", ".join(at) or "none has been let into the stages"
