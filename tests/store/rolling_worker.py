"""One worker of a rolling upgrade: run by the Python of a wheel, so it imports nothing but that rxpipe.

Each call is noted in a file before it begins, with what tells it from all others; its result carries that.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.run.run import Run

STAGES = ("generation", "answering", "grading")


class Step:
    """A slow call that somebody pays for."""

    def __init__(self, stage: str, ledger: str, seconds: float) -> None:
        self.stage, self.ledger, self.seconds = stage, ledger, seconds

    def __call__(self, value: Any) -> dict[str, Any]:
        """Pay, wait, and say which calls the result is made of."""
        given: dict[str, Any] = {"id": value, "calls": []} if isinstance(value, int) else value
        token = uuid.uuid4().hex
        self.note("begun", given["id"], token)
        time.sleep(self.seconds)
        self.note("returned", given["id"], token)
        return {"id": given["id"], "calls": [*given["calls"], token]}

    def note(self, what: str, item: int, token: str) -> None:
        """Add a line, in one write."""
        descriptor = os.open(self.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{what} {item} {self.stage} {os.getpid()} {token} {time.monotonic()}\n".encode())
        os.close(descriptor)


def main(url: str, ledger: str, items: int, seconds: float) -> None:
    """Work on the run to its end, or until told to stop."""
    import rxpipe

    def started(_: Run) -> None:
        print("started", Path(rxpipe.__file__).parent, flush=True)

    stages = (Stage(name, Step(name, ledger, seconds), concurrency=8) for name in STAGES)
    pipeline = Pipeline(
        *stages, sink=DatabaseSink(url, table="bank"), store=RunStore(lease=6, heartbeat=1), name="bank"
    )
    try:
        report = run_blocking(pipeline, range(items), signals=(signal.SIGTERM,), started=started)
    except KeyboardInterrupt:
        sys.exit(3)
    print("finished", report.written, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
