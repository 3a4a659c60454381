"""A Dask cluster of two worker processes, in a process of its own; ends with its standard input."""

from __future__ import annotations

import logging
import sys
from typing import Any

from distributed import LocalCluster


def main() -> None:
    started: Any = LocalCluster(  # type: ignore[no-untyped-call]  # Dask has few types
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
        scheduler_kwargs={"allowed_failures": 1},
    )
    with started as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
