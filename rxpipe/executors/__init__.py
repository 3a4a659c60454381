"""Executors: run a stage's calls elsewhere than on threads. They are opened for each run, and closed at its end.

::

    from rxpipe.executors import DaskCluster, Processes

    Stage("grading", grade, timeout=60, executor=Processes(4))
    Stage("grading", grade, concurrency=100, executor=DaskCluster("tcp://scheduler:8786"))

What is where:

- ``processes.py``: ``Processes``, a pool on this machine, which starts and kills its processes;
  ``worker_process.py``: the code that runs in them
- ``dask_settings.py``: ``DaskCluster``; ``dask_engine.py``: an open cluster; ``dask_event_loop.py``: its event loop;
  ``cluster_worker.py``: the code that runs on its workers
- ``engine.py``: the base of all executors; ``serialization.py``: calls and results as bytes
- ``errors.py``: errors of executors
"""

from __future__ import annotations

from rxpipe.executors.dask_settings import DaskCluster
from rxpipe.executors.errors import CallKilled, ExecutorLost
from rxpipe.executors.processes import Processes

__all__ = ["CallKilled", "DaskCluster", "ExecutorLost", "Processes"]
