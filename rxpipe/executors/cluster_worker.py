"""What runs on a worker of a Dask cluster: beside rxpipe and the functions' own modules, all that is needed there."""

from __future__ import annotations

import signal
import threading
from typing import Any

import cloudpickle  # type: ignore[import-untyped]  # it has no types
from distributed import get_worker
from distributed.utils import sync

from rxpipe.executors.serialization import run_shipped

TOPIC = "rxpipe-begun"  # one for all: a scheduler keeps the last events of each topic for as long as it lives

_ANSWERED = 30.0  # seconds until the scheduler counts as gone


def run_on_cluster(
    identity: str, function: bytes, value: bytes, seconds: float | None, told: bool, quarantined: bool
) -> bytes:
    """Make a call.

    Args:
        identity: What the events of this call are known by.
        function: See ``run_shipped``, as for the next two.
        value: See there.
        seconds: See there.
        told: Whether to tell that it begins.
        quarantined: Whether workers have died with it: then the scheduler knows that before it can happen again.
    """
    if quarantined:
        _tell_now(identity)
    elif told:
        get_worker().log_event(TOPIC, identity)
    return run_shipped(function, value, seconds, cloudpickle)


def _tell_now(identity: str) -> None:
    """Wait until the scheduler has the event: usually they leave the worker in batches, and would die with it."""
    worker: Any = get_worker()
    sync(worker.loop, worker.scheduler.log_event, topic=TOPIC, msg=identity, callback_timeout=_ANSWERED)


def dask_setup(worker: object) -> None:
    """Preloaded by the workers of a local cluster: Ctrl-C goes to the whole group, and a run that is stopped drains."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
