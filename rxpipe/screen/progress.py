"""Shows a run as it goes, in whichever way the place allows."""

from __future__ import annotations

import signal
import sys
from typing import Protocol, Self

from rich.console import Console

from rxpipe.screen.figures import Meter
from rxpipe.screen.lines import Lines
from rxpipe.screen.live import LiveScreen


class Progress(Protocol):
    """Shows a run from when it has begun until this is left."""

    def begin(self, meter: Meter) -> None:
        """The run has started."""
        ...

    def interrupted(self, number: signal.Signals, count: int) -> None:
        """A signal came, the first or the second."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def progress_of(title: str, grace: float | None, *, quiet: bool = False) -> Progress:
    """A live screen on standard error if that is a terminal, else a line now and then.

    Args:
        title: What is run.
        grace: Seconds that items get to finish after the first Ctrl-C; None for as long as they take.
        quiet: Nothing but what Ctrl-C does.
    """
    # Rich also takes a log file for a terminal, if FORCE_COLOR says so.
    if quiet or not (sys.stderr.isatty() and Console(stderr=True).is_interactive):
        return Lines(grace, quiet=quiet)
    return LiveScreen(title, grace)
