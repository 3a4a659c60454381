"""``rxpipe run``, killed and called again."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import Program, run

from .places import Place
from .waiting import until
from .watch import Snapshot, Watch
from .work import STAGES

ITEMS = 300
CONCURRENCY = 3
WINDOW = 0.05  # seconds, of the sink

# The same results as those of ``work.Step``, and the same ledger, without what only the tests' folder has.
CODE = """
import os, pathlib, time, uuid
import rxpipe

path = pathlib.Path(__file__).with_name("ledger")


def call(stage, value):
    given = value if isinstance(value, dict) else {"id": value, "calls": []}
    token = uuid.uuid4().hex[:16]
    with open(path, "ab", buffering=0) as ledger:
        ledger.write(f"{given['id']} {stage} 1 {os.getpid()} {time.monotonic_ns()} {token}\\n".encode())
    rxpipe.record_usage(rxpipe.Usage(prompt_tokens=int(token[:12], 16)))
    time.sleep(0.004)
    return {"id": given["id"], "calls": [*given["calls"], token]}


def generation(value):
    return call("generation", value)


def answering(value):
    return call("answering", value)


def grading(value):
    return call("grading", value)
"""


@pytest.mark.slow
def test_command_killed_and_called_again(place: Place, record_property: Callable[[str, object], None]) -> None:
    """What is called twice is what was in flight, and one batch that was not committed yet."""
    folder = Path(place.directory)
    config = {
        "name": place.name,
        "source": {"range": ITEMS},
        "pipeline_config": {"parallel_pipelines": CONCURRENCY},
        "stages": [{"name": name, "call": f"stages:{name}"} for name in STAGES],
        "database": {"url": place.url, "table": place.name},
    }
    (folder / "stages.py").write_text(CODE)
    (folder / "pipeline.yaml").write_text(json.dumps(config))
    watch = Watch(place)
    command = ["-m", "rxpipe.cli", "run", "pipeline.yaml"]
    with open(folder / "printed", "wb") as printed:
        killed = Program(*command, cwd=folder, stdout=printed, stderr=printed)
        try:
            until("half of the calls are made", lambda: len(watch.ledger.calls()) > ITEMS * len(STAGES) / 2)
        finally:
            killed.send_signal(signal.SIGKILL)
            killed.wait()
        first = watch.ledger.calls()
        kept = watch.look()
        ended = run(*command, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    watch.check(range(1, ITEMS + 1))
    calls = watch.ledger.counts()
    assert set(calls) == {(str(item), stage) for item in range(1, ITEMS + 1) for stage in STAGES}
    again = sum(calls.values()) - len(calls)
    assert again == len(first) - len(kept.checkpoints)
    rate = len(first) / (first[-1].time - first[0].time) * 1e9
    # Those of one batch: what came while it was gathered, and while it was being committed.
    most = CONCURRENCY * len(STAGES) + rate * (WINDOW + _longest_commit(kept))
    record_property("calls made again", again)
    record_property("at most", int(most))
    assert again <= most


def _longest_commit(snapshot: Snapshot) -> float:
    """The longest time from the beginning of one commit to that of the next."""
    begun: list[float] = sorted({checkpoint.at for checkpoint in snapshot.checkpoints.values()})
    return max(after - before for before, after in itertools.pairwise(begun))
