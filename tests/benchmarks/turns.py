"""Contenders that take turns in one process, run by run; the program prints the fastest run of each."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable

from .child import WARM_UP
from .contenders import CONTENDERS
from .measure import CHECKOUT, PATIENCE
from .workload import Job, Sink, Tally


def least(keys: list[str], *, items: int, rounds: int, processes: int) -> dict[str, float]:
    """Seconds of processor time of each contender's fastest run, over all rounds of all processes.

    Whatever else the machine does makes a run take more processor time, and never less. So the fastest run is the one
    that says most of the code.

    Raises:
        subprocess.CalledProcessError: A contender failed; it has said why.
    """
    order = json.dumps({"keys": keys, "items": items, "rounds": rounds})
    command = [sys.executable, "-m", f"{__package__}.turns", order]
    found: dict[str, float] = {}
    for _ in range(processes):
        done = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
        for key, seconds in json.loads(done.stdout).items():
            found[key] = min(seconds, found.get(key, seconds))
    return found


def main(keys: list[str], *, items: int, rounds: int) -> dict[str, float]:
    """Let them take turns; returns each one's fastest run."""
    runs = {key: CONTENDERS[key].load() for key in keys}
    for run in runs.values():
        run(WARM_UP, Tally().add)
    found = dict.fromkeys(keys, float("inf"))
    for _ in range(rounds):
        for key, run in runs.items():
            found[key] = min(found[key], _cpu_seconds(run, items))
    return found


def _cpu_seconds(run: Callable[[Job, Sink], None], items: int) -> float:
    tally = Tally()
    gc.collect()
    started = time.process_time()
    run(Job(items=items), tally.add)
    seconds = time.process_time() - started
    tally.check(items)
    return seconds


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(**json.loads(sys.argv[1]))))
