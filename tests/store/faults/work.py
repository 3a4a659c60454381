"""The run that is hurt: three stages that note their calls, in a process of its own."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rxpipe import DatabaseSink, Pipeline, Retry, Stage, Usage, record_usage
from rxpipe.errors import SinkError
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.run.run import Run
from rxpipe.store import RunStore

from .ledger import Ledger, token_number
from .pauses import Pauses
from .points import STARTED, forget, say_nothing

STAGES = ("generation", "answering", "grading")
ALWAYS = 1_000_000

ANSWER = 8  # characters of a run's exit code, told by a process that works on many
INTERRUPTED = 3  # exit codes: a signal ended the run, in order
GAVE_UP = 4  # the database could not be opened, or stayed away


class Fault(Protocol):
    """What a process does to itself."""

    def arrange(self, say: Callable[[str], None]) -> Callable[[str], None]:
        """Arrange for it, before anything is opened; returns what is told of each call's start and return."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What becomes of an item in a stage.

    Attributes:
        item: The item's key.
        stage: The stage's name.
        failing: How many of its first calls fail, in each process.
        exits: Whether its call ends the process.
        held_by: A file that its call waits for.
    """

    item: str
    stage: str
    failing: int = 0
    exits: bool = False
    held_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run, as a process is told it.

    Attributes:
        url: The database.
        name: Of the pipeline, and of the sink's table.
        directory: Where the ledger is, and what the processes said.
        items: The source.
        seconds: How long a call takes.
        concurrency: Calls at once, of each stage.
        window: How long results wait for others to be committed with.
        store: Options of the ``RunStore``.
        troubles: What becomes of some items.
        fault: What the process does to itself.
        notes_returns: Whether the ledger is told when calls return, too.
        pauses: Has calls wait for kills.
    """

    url: str
    directory: str
    items: tuple[int, ...]
    seconds: float = 0.001
    concurrency: int = 2
    window: float = 0.004
    store: dict[str, Any] = field(default_factory=dict[str, Any])
    troubles: tuple[Trouble, ...] = ()
    name: str = "questions"
    fault: Fault | None = None
    notes_returns: bool = False
    pauses: Pauses | None = None

    @property
    def ledger(self) -> Ledger:
        """Of all processes that work on this run."""
        return Ledger(Path(self.directory) / "ledger")

    def pipeline(self, tell: Callable[[str], None]) -> Pipeline:
        """What the process runs; its calls tell where they are."""
        return pipeline_of(self, tell)

    def said_by(self, pid: int) -> Path:
        """What a process said, and printed."""
        return Path(self.directory) / f"said.{pid}"


@dataclass(frozen=True)
class Step:
    """A stage's function: it notes the call, and gives a result that names it and those before it."""

    stage: str
    ledger: Ledger
    seconds: float
    troubles: dict[str, Trouble]
    tell: Callable[[str], None]
    notes_returns: bool = False
    pauses: Pauses | None = None
    calls: Counter[str] = field(default_factory=Counter[str])

    def __call__(self, value: Any) -> dict[str, Any]:
        """Make a call."""
        given: dict[str, Any] = {"id": value, "calls": []} if isinstance(value, int) else value
        key = str(given["id"])
        self.calls[key] += 1
        token = self.ledger.note(key, self.stage, self.calls[key])
        record_usage(Usage(prompt_tokens=token_number(token)))
        if self.pauses is not None:
            self.pauses.wait(self.ledger)
        self.tell(f"call of {self.stage} begins")
        self.suffer(key, token)
        if self.seconds:
            time.sleep(self.seconds)
        self.tell(f"call of {self.stage} returns")
        if self.notes_returns:
            self.ledger.note_return(token)
        return {"id": given["id"], "calls": [*given["calls"], token]}

    def suffer(self, key: str, token: str) -> None:
        """Let happen what is to happen to an item here."""
        trouble = self.troubles.get(key)
        if trouble is None:
            return
        while trouble.held_by is not None and not os.path.exists(trouble.held_by):
            time.sleep(0.005)
        if trouble.exits:
            time.sleep(0.05)  # others begin meanwhile
            os._exit(9)
        if self.calls[key] <= trouble.failing:
            self.ledger.note_failure(token)
            raise ValueError(f"call {self.calls[key]} of {key} fails")


def pipeline_of(job: Job, tell: Callable[[str], None]) -> Pipeline:
    """The job's pipeline."""
    return Pipeline(
        *(
            Stage(
                name,
                Step(
                    name,
                    job.ledger,
                    job.seconds,
                    {one.item: one for one in job.troubles if one.stage == name},
                    tell,
                    job.notes_returns,
                    job.pauses,
                ),
                concurrency=job.concurrency,
                retry=Retry(max_attempts=2, initial=0.001, jitter=0),
            )
            for name in STAGES
        ),
        sink=DatabaseSink(job.url, table=job.name, max_seconds=job.window),
        store=RunStore(**job.store),
        name=job.name,
    )


def work(job: Job) -> None:
    """Work on the run to its end, as the whole of a process; its exit code says how that went."""
    descriptor = os.open(job.said_by(os.getpid()), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)

    def say(text: str) -> None:
        os.write(1, f"{text}\n".encode())

    def started(_run: Run) -> None:
        say("started")
        tell(STARTED)

    tell = job.fault.arrange(say) if job.fault is not None else say_nothing
    try:
        report = run_blocking(job.pipeline(tell), job.items, signals=(signal.SIGTERM,), started=started)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(INTERRUPTED)
    except SinkError:
        traceback.print_exc()
        sys.exit(GAVE_UP)
    ends = report.written + report.failed + report.dropped + report.expanded + report.collected + report.cancelled
    assert report.taken + report.spawned == ends, f"{report.taken} + {report.spawned} came, and {ends} went"
    say("finished " + json.dumps({name: getattr(report, name) for name in ("written", "failed", "cancelled")}))


def work_on(told: str) -> None:
    """Work on the job that is pickled in a file."""
    job: Job = pickle.loads(Path(told).read_bytes())
    work(job)


def work_on_all() -> None:
    """Work on one job after the other, as standard input names their files, and tell how each ended."""
    answers = os.dup(1)
    for line in sys.stdin:
        try:
            work_on(line.strip())
            code: Any = 0
        except SystemExit as ended:
            code = ended.code
        except BaseException:  # noqa: BLE001 - it is told
            traceback.print_exc()
            code = 1
        forget()
        os.write(answers, f"{code:{ANSWER}}".encode())
