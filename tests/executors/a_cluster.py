"""A Dask cluster in a process of its own, which ends with its standard input: ``a_cluster.py WORKERS [PORT]``."""

from __future__ import annotations

import logging
import sys
from typing import Any

from distributed import LocalCluster


def main() -> None:
    started: Any = LocalCluster(  # type: ignore[no-untyped-call]  # Dask has few types
        n_workers=int(sys.argv[1]),
        scheduler_port=int(sys.argv[2]) if sys.argv[2:] else 0,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
        scheduler_kwargs={"allowed_failures": 1},
    )
    with started as cluster:
        print(cluster.scheduler_address, flush=True)
        for line in sys.stdin:  # how many workers there are to be
            started.scale(int(line))


if __name__ == "__main__":
    main()
