"""One measurement, in a process of its own: what it finds goes to stdout as JSON."""

from __future__ import annotations

import gc
import json
import resource
import statistics
import sys
import time

from .contenders import CONTENDERS
from .workload import Job, Tally

MISSING = "not available"
WARM_UP = Job(items=200)


def main(key: str, *, items: int, latencies: list[float], runs: int, warm: bool) -> dict[str, float | str]:
    """Run one contender; every run must deliver each item exactly once.

    Args:
        key: The contender's.
        items: Items of a run.
        latencies: Seconds that each stage sleeps.
        runs: Runs in this process; the median counts.
        warm: Whether a short run goes ahead, for what happens only once.

    Returns:
        ``seconds`` and ``cpu_seconds`` of a run, and ``peak_mb``, the process's largest resident size; or, if
        the contender cannot be imported, only ``missing``.
    """
    try:
        run = CONTENDERS[key].load()
    except ImportError as error:
        return {"missing": f"{MISSING}: {error.msg.partition(' (')[0]}"}
    if warm:
        run(WARM_UP, Tally().add)
    job = Job(items=items, latencies=tuple(latencies))
    seconds: list[float] = []
    cpu_seconds: list[float] = []
    for _ in range(runs):
        tally = Tally()
        gc.collect()
        started, started_cpu = time.perf_counter(), time.process_time()
        run(job, tally.add)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - started_cpu)
        tally.check(items)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": statistics.median(seconds),
        "cpu_seconds": statistics.median(cpu_seconds),
        "peak_mb": peak / (2**20 if sys.platform == "darwin" else 2**10),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(**json.loads(sys.argv[1]))))
