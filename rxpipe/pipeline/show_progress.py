"""Runs a pipeline with its progress on the terminal."""

from __future__ import annotations

from importlib.util import find_spec

from rxpipe.errors import ConfigError
from rxpipe.extras import install
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.plan import Plan
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.source import Source, length


def run_shown(plan: Plan, source: Source) -> Report:
    """Run a pipeline as ``run_blocking`` does, and show how it goes on standard error.

    Raises:
        ConfigError: What draws on a terminal is not installed.
    """
    if find_spec("rich") is None:
        raise ConfigError(f"progress=True needs rich: {install('cli')}")
    # Imported here, as most programs draw nothing, and it takes a tenth of a second.
    from rxpipe.screen.figures import Meter
    from rxpipe.screen.progress import progress_of

    expands = any(stage.expand for stage in plan.stages)
    with progress_of(f"{plan.name} · {plan.strategy} on {plan.scheduler}", None) as progress:

        def started(run: Run) -> None:
            progress.begin(Meter(run.snapshot, total=length(source), expands=expands))

        return run_blocking(plan, source, started=started, interrupted=progress.interrupted)
