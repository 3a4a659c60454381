"""Shows a run in progress, in the way that the place allows."""

from __future__ import annotations

import signal
import sys
from typing import Protocol, Self

from rich.console import Console

from rxpipe.screen.figures import Meter
from rxpipe.screen.lines import Lines
from rxpipe.screen.live import LiveScreen


class Progress(Protocol):
    """Shows a run from its beginning until the object is left."""

    def begin(self, meter: Meter) -> None:
        """Begin to show: the run has started."""
        ...

    def interrupted(self, number: signal.Signals, count: int) -> None:
        """Show the effect of a signal, the first or the second."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def progress_of(title: str, grace: float | None, *, quiet: bool = False) -> Progress:
    """Returns a live screen if standard error is a terminal, else a writer of lines now and then.

    Args:
        title: The title of the run.
        grace: Seconds that items get to finish after the first Ctrl-C; None for no limit.
        quiet: Write only the effect of Ctrl-C, and that a run that stays has nothing to do.
    """
    # Rich also takes a log file for a terminal, if FORCE_COLOR says so.
    if quiet or not (sys.stderr.isatty() and Console(stderr=True).is_interactive):
        return Lines(grace, quiet=quiet)
    return LiveScreen(title, grace)
