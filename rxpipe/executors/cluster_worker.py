"""The code that runs on a worker of a Dask cluster. A worker needs only this, rxpipe and the functions' own modules."""

from __future__ import annotations

import signal
import threading
from typing import Any

import cloudpickle  # type: ignore[import-untyped]  # it has no types
from distributed import get_worker
from distributed.utils import sync

from rxpipe.executors.serialization import run_shipped

TOPIC = "rxpipe-begun"  # one topic for all: a scheduler keeps the last events of each topic as long as it lives

_ANSWERED = 30.0  # seconds until the scheduler counts as gone


def run_on_cluster(
    identity: str, function: bytes, value: bytes, seconds: float | None, told: bool, quarantined: bool
) -> bytes:
    """Make a call.

    Args:
        identity: Identifies the events of this call.
        function: See ``run_shipped``, as for the next two.
        value: See there.
        seconds: See there.
        told: True to report that the call begins.
        quarantined: True if workers have died with the call. Then it begins only after the scheduler has the report.
    """
    if quarantined:
        _tell_now(identity)
    elif told:
        get_worker().log_event(TOPIC, identity)
    return run_shipped(function, value, seconds, cloudpickle)


def _tell_now(identity: str) -> None:
    """Wait until the scheduler has the event. Otherwise events leave the worker in batches, and would die with it."""
    worker: Any = get_worker()
    sync(worker.loop, worker.scheduler.log_event, topic=TOPIC, msg=identity, callback_timeout=_ANSWERED)


def dask_setup(worker: object) -> None:
    """Ignore Ctrl-C; preloaded by the workers of a local cluster.

    Ctrl-C goes to the whole group, and a stopped run drains.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
