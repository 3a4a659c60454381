"""An open Dask cluster, and the calls that it runs.

Every event of a call is handled on the client's own event loop. That loop must not be held up, so it does bookkeeping
only. These facts about Dask matter here:

- If a worker dies, Dask suspects all of its tasks, including those that only waited. After ``allowed-failures`` deaths,
  a task fails with ``KilledWorker``, even if it is innocent. So such a call is made again in quarantine, one at a time,
  and reports its beginning each time. It is convicted only if it had begun on every worker that died.
- A running task cannot be stopped. Cancelling it only makes the scheduler believe that its worker is free, and send
  more tasks there. So a call that is known to have begun and is not wanted any more is left to end.
- A client that has lost its scheduler gives up all futures. Then it tries to connect again by itself for a while.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, Protocol

import structlog
from distributed import Client, KilledWorker, LocalCluster
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxpipe.executors.cluster_worker import TOPIC, run_on_cluster
from rxpipe.executors.dask_event_loop import DaskLoop
from rxpipe.executors.engine import OpenEngine
from rxpipe.executors.errors import CallKilled, ExecutorLost
from rxpipe.executors.serialization import Function, Pickler, Reply, unpacked, what_is_missing
from rxpipe.operators.core.worker import Call
from rxpipe.operators.errors import describe

_ANY_PORT = "127.0.0.1:0"  # Dask always serves a dashboard, and warns if its usual port is taken
_HANGS = 0.5  # seconds until a worker of a local cluster that does not close is killed
_CLOSED = 10.0  # seconds to wait for a close
_WATCHED = 10.0  # seconds between checks for workers
_LOOK_AGAIN = 0.1  # seconds, while the client connects again
_DEATHS = 1  # deaths of a local cluster's workers per task: each costs a second, and each worker has one thread

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class ClusterSettings(Protocol):
    """The settings of a cluster: see ``DaskCluster``."""

    @property
    def address(self) -> str | None:
        """The scheduler's address; None for a cluster on this machine."""
        ...

    @property
    def workers(self) -> int | None:
        """Number of worker processes of a cluster on this machine."""
        ...

    @property
    def upload(self) -> tuple[str, ...]:
        """Files to send to all workers first."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds to wait for the scheduler."""
        ...

    @property
    def width(self) -> int | None:
        """Number of calls that can run there at once; None if unknown."""
        ...

    def pickler(self) -> Pickler:
        """Pickles functions and values."""
        ...


def open_cluster(settings: ClusterSettings) -> OpenEngine:
    """Connect to a cluster, or start one.

    Raises:
        ExecutorLost: The scheduler cannot be reached, or a file cannot be sent.
    """
    loop = DaskLoop()
    cluster: Any = None
    client: Any = None
    try:
        if settings.address is None:
            cluster = LocalCluster(  # type: ignore[no-untyped-call]  # Dask has few types
                loop=loop.io_loop,
                n_workers=settings.workers or os.cpu_count(),
                threads_per_worker=1,
                processes=True,
                dashboard_address=_ANY_PORT,
                worker_dashboard_address=_ANY_PORT,
                silence_logs=logging.CRITICAL,  # of deaths of workers: their effects are reported otherwise
                preload=["rxpipe.executors.cluster_worker"],
                scheduler_kwargs={"allowed_failures": _DEATHS},
            )
        client = Client(  # type: ignore[no-untyped-call]  # as above
            cluster or settings.address,
            loop=loop.io_loop,
            timeout=settings.timeout,
            set_as_default=False,
            name="rxpipe",
        )
        for file in settings.upload:
            client.upload_file(file)
        return _Cluster(loop, client, cluster, settings)
    except BaseException as error:
        _close(loop, client, cluster)
        if not isinstance(error, Exception):  # Ctrl-C
            raise
        where = settings.address or "of this machine"
        raise ExecutorLost(f"the Dask cluster {where} cannot be used: {describe(error)}") from error


def _close(loop: DaskLoop, client: Any, cluster: Any) -> None:
    """Close the cluster and its client. A worker of a local cluster that hangs is killed."""

    async def end_workers() -> None:
        await asyncio.gather(*(worker.close(timeout=_HANGS) for worker in list(cluster.workers.values())))

    try:
        if client is not None:
            client.close()
        if cluster is not None:
            with suppress(Exception):  # they end with their cluster at the latest
                loop.run(end_workers(), _CLOSED)
            cluster.close()
    finally:
        loop.close()


class _Shipped:
    """One call, from its submission to its end.

    Attributes:
        begun: Number of workers that have reported its beginning; since its quarantine, if it is in quarantine.
        unwanted: True if its result is no longer wanted.
        quarantined: True if too many workers have died with it.
    """

    def __init__(self, function: bytes, value: bytes, call: Call) -> None:
        self.function = function
        self.value = value
        self.call = call
        self.seconds = call.remaining()
        self.identity = uuid.uuid4().hex
        self.future: Any = None
        self.begun = 0
        self.unwanted = False
        self.quarantined = False


class _Cluster(OpenEngine):
    """A client of a cluster, and the calls that the cluster has."""

    def __init__(self, loop: DaskLoop, client: Any, cluster: Any, settings: ClusterSettings) -> None:
        self.pack = settings.pickler().dumps
        self._loop = loop
        self._client = client
        self._cluster = cluster
        self._timeout = settings.timeout
        self._width = settings.width or 0
        self._closed = False
        self._away = False
        self._calls: dict[str, _Shipped] = {}
        self._alone = asyncio.Lock()  # held for the one quarantined call in the cluster
        self._tasks: set[asyncio.Task[None]] = set()
        client.subscribe_topic(TOPIC, self._on_begun)
        self._watching = loop.spawn(self._watch())

    def runner(self) -> _ClusterRunner:
        return _ClusterRunner(self)

    def missing(self, function: bytes) -> str | None:
        future = self._client.submit(
            what_is_missing, function, key=f"rxpipe-import-{uuid.uuid4().hex}", pure=False, retries=0
        )
        try:
            return future.result(timeout=self._timeout)  # type: ignore[no-any-return]  # as what was called
        except TimeoutError:
            raise ExecutorLost(f"no worker of the Dask cluster has answered within {self._timeout:g} s") from None
        except CancelledError as error:
            raise ExecutorLost(f"the Dask cluster has gone away: {describe(error)}") from None
        except Exception as error:  # noqa: BLE001 - rxpipe itself is missing there, or of another version
            return describe(error)

    def submit(self, shipped: _Shipped) -> None:
        """Give a call to the cluster."""
        if self._closed or self._client.status == "closed":
            raise self._lost()
        self._calls[shipped.identity] = shipped  # before the submission, since the call may begin at once
        try:
            self._send(shipped)
            self._loop.call_soon(self._start_following, shipped)
        except BaseException:
            del self._calls[shipped.identity]
            raise

    def cancel(self, shipped: _Shipped) -> None:
        """Take a call back, unless it runs."""
        with suppress(RuntimeError):  # the loop is closed, and the call is over
            self._loop.call_soon(self._start_cancel, shipped)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._watching.cancel()
        with suppress(Exception):  # the scheduler is away, and so are its tasks
            self._loop.run(self._give_up(), _CLOSED)
        _close(self._loop, self._client, self._cluster)

    def _send(self, shipped: _Shipped) -> None:
        told = shipped.seconds is not None or shipped.quarantined
        arguments = (shipped.identity, shipped.function, shipped.value, shipped.seconds, told, shipped.quarantined)
        # The key is unique: equal calls are not the same call, nor is a call that is made again.
        shipped.future = self._client.submit(
            run_on_cluster, *arguments, key=f"rxpipe-call-{uuid.uuid4().hex}", pure=False, retries=0
        )

    # On the client's loop

    def _start_following(self, shipped: _Shipped) -> None:
        self._spawn(self._follow(shipped))

    async def _follow(self, shipped: _Shipped) -> None:
        try:
            reply = await self._reply_to(shipped)
        except BaseException as error:  # noqa: BLE001 - of Dask's own, or the loop's end: the call must end with it
            reply = Reply(False, error)
        del self._calls[shipped.identity]
        if shipped.quarantined:
            self._alone.release()
        if reply.usage is not None:
            shipped.call.record(reply.usage)
        shipped.call.done(reply.ok, reply.result)

    async def _reply_to(self, shipped: _Shipped) -> Reply:
        while True:
            try:
                return unpacked(await self._client.gather(shipped.future, asynchronous=True))
            except KilledWorker as error:
                if shipped.quarantined and shipped.begun > error.allowed_failures:
                    return Reply(False, CallKilled(f"{shipped.begun} workers of the Dask cluster died while it ran"))
                if not shipped.quarantined:
                    await self._alone.acquire()
                    shipped.quarantined = True
                shipped.begun = 0
            except OSError:  # an error of the transport; a function's own error is part of its reply
                if shipped.future.status == "error":
                    raise
                await asyncio.sleep(_LOOK_AGAIN)
                continue
            except CancelledError:
                if not (shipped.unwanted or self._closed or await self._is_back()):
                    return Reply(False, self._lost())
            if shipped.unwanted or self._closed:
                return Reply(False, CancelledError())
            self._send(shipped)

    async def _is_back(self) -> bool:
        """Wait until the client has its scheduler again. Returns False if the client has given up."""
        if not self._away:
            self._away = True
            _log.warning("the connection to the Dask scheduler was lost", waits_for_seconds=self._timeout)
        while self._client.status == "connecting" and not self._closed:  # noqa: ASYNC110 - Dask has no event for that
            await asyncio.sleep(_LOOK_AGAIN)
        self._away = False
        return bool(self._client.status == "running")

    async def _watch(self) -> None:
        """Warn if calls wait and there are no workers. Restart missing workers of a local cluster."""
        told = False
        while not self._closed:
            await asyncio.sleep(_WATCHED)
            with suppress(Exception):  # the scheduler is away, which is reported separately
                workers = await self._client.nthreads()
                if self._cluster is not None and len(workers) < self._width:
                    self._cluster.scale(self._width)  # a worker that dies while starting does not come back by itself
                lacking = bool(self._calls) and not workers
                if lacking and not told:
                    _log.warning("the Dask cluster has no workers: calls wait for one", calls=len(self._calls))
                told = lacking

    def _on_begun(self, event: tuple[float, Any]) -> None:
        shipped = self._calls.get(event[1])
        if shipped is not None:
            shipped.begun += 1
            shipped.call.begin()

    def _start_cancel(self, shipped: _Shipped) -> None:
        self._spawn(self._cancel(shipped))

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)  # the loop keeps no reference to it
        task.add_done_callback(self._tasks.discard)

    async def _cancel(self, shipped: _Shipped) -> None:
        shipped.unwanted = True
        if not shipped.begun and shipped.identity in self._calls:
            await self._client.cancel([shipped.future], asynchronous=True)

    async def _give_up(self) -> None:
        calls = list(self._calls.values())
        for shipped in calls:
            shipped.unwanted = True
        if self._client.status == "running":
            await self._client.cancel([shipped.future for shipped in calls if shipped.future], asynchronous=True)
        if others := self._tasks - {asyncio.current_task()}:
            await asyncio.wait(others)

    def _lost(self) -> ExecutorLost:
        return ExecutorLost(f"the scheduler of the Dask cluster has been away for {self._timeout:g} s")


class _ClusterRunner:
    """Makes the calls of one stage."""

    queues = True
    cancels = False
    width = float("inf")

    def __init__(self, cluster: _Cluster) -> None:
        self._cluster = cluster
        self._packed: tuple[Function, bytes] | None = None

    def start(self, fn: Function, value: Any, call: Call) -> DisposableBase:
        """Submit a call."""
        if self._packed is None or self._packed[0] is not fn:
            self._packed = fn, self._cluster.pack(fn)
        shipped = _Shipped(self._packed[1], self._cluster.pack(value), call)
        self._cluster.submit(shipped)
        return Disposable(lambda: self._cluster.cancel(shipped))

    def close(self) -> None:
        """Nothing to free: the stage has cancelled its calls, and the cluster may serve other stages."""
