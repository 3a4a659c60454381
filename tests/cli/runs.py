"""A run that never starts: the test sets its counts and its time."""

from __future__ import annotations

from reactivex.abc import DisposableBase

from rxpipe.operators.core.clock import Action
from rxpipe.operators.stages.settings import StageStats
from rxpipe.pipeline.ports import RunPorts
from rxpipe.pipeline.run.flow import Flow
from rxpipe.pipeline.run.run import Run
from rxpipe.pipeline.run.snapshots import RunFacts
from rxpipe.screen.figures import Figures, Meter


class MadeRun:
    """What a view sees of a run.

    Attributes:
        seconds: The time.
        stages: The counts of its stages.
        run: The run.
    """

    def __init__(self, *stages: str, concurrency: int = 3) -> None:
        self.seconds = 0.0
        self.stages = [StageStats(name=name, concurrency=concurrency) for name in stages]
        self.run = Run(self.stages, self, RunPorts(), Flow(stages))

    def now(self) -> float:
        """The time: this is a clock, too."""
        return self.seconds

    def call_later(self, seconds: float, action: Action) -> DisposableBase:
        """No view waits by the run's clock."""
        raise NotImplementedError

    def figures(self, total: int | None = None, *, staged: bool = False, after: float = 10.0, **counts: int) -> Figures:
        """The figures, after so many seconds in which the counts came to be what they are."""
        if staged:
            self.run._watch._facts = RunFacts(strategy="staged")  # pyright: ignore[reportPrivateUsage] - as below
        meter = Meter(self.run.snapshot, total=total)
        self.set(**counts)
        self.seconds += after
        return meter.read()

    def set(self, **counts: int) -> None:
        """Set the run's counts."""
        items = self.run._items  # pyright: ignore[reportPrivateUsage] - a real run counts them as they come
        items.spawned = counts.pop("spawned", items.spawned)
        for name, count in counts.items():
            setattr(self.run, name, count)
        ends = ("written", "failed", "dropped", "expanded", "collected", "cancelled")
        items.count = self.run.taken + items.spawned - sum(getattr(self.run, end) for end in ends)
