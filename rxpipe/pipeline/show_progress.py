"""Runs a pipeline with its progress on the terminal."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from importlib.util import find_spec

from rxpipe.errors import ConfigError
from rxpipe.extras import install
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.outcome import Report
from rxpipe.pipeline.plan import Plan
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.source import Source, length


def run_shown(plan: Plan, source: Source) -> Report:
    """Run a pipeline as ``run_blocking`` does, and show the progress on standard error.

    Raises:
        ConfigError: The package that draws on terminals is not installed.
    """
    if find_spec("rich") is None:
        raise ConfigError(f"progress=True needs rich: {install('cli')}")
    # Imported here, since most programs draw nothing, and the import takes a tenth of a second.
    from rxpipe.screen.figures import Meter

    # Imported by name, since it is built on the pipelines that it simulates.
    foretelling = import_module("rxpipe.foresight.live.foretelling").Foretelling
    from rxpipe.screen.progress import progress_of

    expands = any(stage.expand for stage in plan.stages)
    title = f"{plan.name} · {plan.strategy} on {plan.scheduler}"
    with ExitStack() as beside, progress_of(title, None) as progress:

        def started(run: Run) -> None:
            beside.enter_context(foretelling(plan, run, total=length(source)))
            progress.begin(Meter(run.snapshot, total=length(source), expands=expands))

        return run_blocking(plan, source, started=started, interrupted=progress.interrupted)
