"""Runs a simulation to its end, if it has one."""

from __future__ import annotations

from collections.abc import Callable

from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.pipeline.run.run import Run

_LOOK = 512  # events between two checks: some milliseconds
_LEAST = 20_000  # events without progress after which a run counts as endless,
_PER_ITEM = 100  # or, if that is more, this many for each item in flight


def let_happen(time: VirtualTime, run: Run, pause: Callable[[], object] = lambda: None) -> bool:
    """Runs a simulation to its end.

    Args:
        time: The virtual time of the run.
        run: The run, which has started.
        pause: Called now and then. If it raises, the simulation ends with that error.

    Returns:
        True at the end; False if the run has no end, because calls are refused and made again for ever.
    """
    progress, idle = -1, 0
    while time.run(most=_LOOK):
        pause()
        now = run.taken + sum(stage.finished for stage in run.stages)
        idle = idle + _LOOK if now == progress else 0
        progress = now
        if idle > max(_LEAST, _PER_ITEM * run.in_flight):
            return False
    return True


def endless(run: Run) -> str:
    """Returns a sentence about a run that has no end."""
    refused = max(run.stages, key=lambda stage: stage.pushed_back)
    return f"the run would never end: the server refuses all calls of stage {refused.name}"
