"""A simulated run is let happen to its end, if it has one."""

from __future__ import annotations

from collections.abc import Callable

from rxpipe.operators.core.virtual_time import VirtualTime
from rxpipe.pipeline.run.run import Run

_LOOK = 512  # events between two looks: some milliseconds
_LEAST = 20_000  # events without progress after which a run has no end; with many items on their way,
_PER_ITEM = 100  # so many for each


def let_happen(time: VirtualTime, run: Run, pause: Callable[[], object] = lambda: None) -> bool:
    """Let a run happen to its end.

    Args:
        time: Its time.
        run: The run, which has started.
        pause: Called now and then; what it raises ends the simulation.

    Returns:
        False if it has no end: calls are refused and made again for ever.
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
    """A sentence on a run that has no end."""
    refused = max(run.stages, key=lambda stage: stage.pushed_back)
    return f"the run would never end: the server refuses all calls of stage {refused.name}"
