"""Where else than on threads a stage's calls may run: settings that are opened for each run, and closed after it.

::

    from rxpipe.executors import DaskCluster, Processes

    Stage("grading", grade, timeout=60, executor=Processes(4))
    Stage("grading", grade, concurrency=100, executor=DaskCluster("tcp://scheduler:8786"))

What is where:

- ``processes.py``: ``Processes``, a pool of this machine's, which starts and kills its processes; what runs in them is
  ``worker_process.py``
- ``dask_settings.py``: ``DaskCluster``; opened in ``dask_engine.py``, on a ``dask_event_loop.py``; what runs on its
  workers is ``cluster_worker.py``
- ``engine.py``: what they share; ``serialization.py``: calls as bytes, and their results
- ``errors.py``: what goes wrong
"""

from __future__ import annotations

from rxpipe.executors.dask_settings import DaskCluster
from rxpipe.executors.errors import CallKilled, ExecutorLost
from rxpipe.executors.processes import Processes

__all__ = ["CallKilled", "DaskCluster", "ExecutorLost", "Processes"]
