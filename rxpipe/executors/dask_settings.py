"""``DaskCluster``: makes calls on a Dask cluster, on this machine or on many."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

from rxpipe.errors import ConfigError
from rxpipe.executors.engine import EngineSettings, OpenEngine
from rxpipe.executors.serialization import Pickler
from rxpipe.extras import install

ADDRESS = r"^[a-z]+://\S+$"


@dataclass(frozen=True, slots=True)
class DaskCluster(EngineSettings):
    """A Dask cluster: an existing one by its scheduler's address, or worker processes on this machine.

    ::

        Stage("grading", grade, concurrency=100, timeout=60, executor=DaskCluster("tcp://scheduler:8786"))

    - The cluster has as many calls at once as the stage has slots. A call's timeout starts when a worker begins it.
    - A call that waits in the cluster can be taken back. A running call cannot be stopped. It is abandoned, as on a
      thread.
    - If a worker dies, its calls are made again on other workers. If more workers die with a call than the cluster
      allows, the call is tried again alone. If workers die with it then, too, it fails with ``CallKilled``.
    - While the scheduler is away, calls wait. After ``timeout`` seconds the run stops with ``ExecutorLost``.

    Workers need the same Python, rxpipe and the functions' modules: see ``docs/scaling.md``.

    Attributes:
        address: The scheduler's address, such as ``tcp://host:8786``. Without it, a cluster on this machine is started
            for the run.
        workers: Number of worker processes of that local cluster, with one thread each; by default the number of cores.
        upload: Modules (``.py``, ``.zip`` or ``.egg`` files) to send to all workers first.
        timeout: Seconds to wait for the scheduler, and for its first worker.
    """

    address: str | None = None
    workers: int | None = None
    upload: tuple[str, ...] = ()
    timeout: float = 60.0

    where: ClassVar[str] = "a worker of the Dask cluster"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: The address is bad, a number is out of range, or there are both an address and ``workers``.
            ConfigError: Dask is not installed.
        """
        workers: Any = self.workers
        if self.address is not None and not re.match(ADDRESS, self.address):
            raise ValueError(f"address must be like tcp://host:8786, not {self.address!r}")
        if workers is not None and not (isinstance(workers, int) and not isinstance(workers, bool) and workers >= 1):
            raise ValueError(f"workers must be a whole number of at least 1, not {workers!r}")
        if self.address is not None and workers is not None:
            raise ValueError("workers are started on this machine only: not beside an address")
        if not self.timeout > 0:
            raise ValueError(f"timeout must be above 0, not {self.timeout}")
        if find_spec("distributed") is None:
            raise ConfigError(f"Dask needs the extra dask: {install('dask')}")

    @property
    def width(self) -> int | None:
        """Number of calls that can run at once; None for a cluster elsewhere, which may grow."""
        return None if self.address is not None else self.workers or os.cpu_count()

    def pickler(self) -> Pickler:
        """Pickles lambdas, closures and functions of a script, too."""
        import cloudpickle  # type: ignore[import-untyped]  # it has no types; not above: an extra

        return cloudpickle  # type: ignore[no-any-return]  # a module, which has the function

    def _open(self) -> OpenEngine:
        from rxpipe.executors.dask_engine import open_cluster  # not above: importing Dask takes a second

        return open_cluster(self)
