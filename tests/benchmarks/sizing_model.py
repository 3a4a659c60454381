"""A model of workers on one PostgreSQL: what a transaction and an item cost, and what that comes to in other fleets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

FLEETS = (
    (10, 10, 1.0, 0.05),
    (100, 10, 1.0, 0.05),
    (1000, 10, 1.0, 0.05),
    (1000, 10, 1.0, 1.0),
    (10, 1000, 1.0, 0.05),
    (10, 10, 10.0, 0.05),
    (100, 10, 10.0, 0.05),
    (1000, 10, 10.0, 0.05),
)
"""Workers, slots of each, seconds of a call, and ``max_seconds`` of the sink."""

PER_WORKER = 3  # connections at most: claims, commits and signs of life
MAX_CONNECTIONS = 100  # PostgreSQL's default
SERVER_CORES = 16  # of the server that fleets are modelled with
BEATS = 0.5  # transactions of signs of life a second: five in 10 s


class Run(Protocol):
    """What the model takes of a measured run."""

    @property
    def workers(self) -> int: ...
    @property
    def call(self) -> float: ...
    @property
    def items(self) -> int: ...
    @property
    def claims(self) -> int: ...
    @property
    def commits(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def worker_cpu(self) -> float: ...
    @property
    def server_cpu(self) -> float: ...
    @property
    def cores(self) -> float: ...


@dataclass(frozen=True)
class Costs:
    """Processor seconds.

    Attributes:
        transaction: Of the server, for a claim or a commit.
        item: Of the server, for an item, claimed and committed.
        worker_transaction: Of the worker, for a claim or a commit.
        worker_item: Of the worker, for an item.
    """

    transaction: float
    item: float
    worker_transaction: float
    worker_item: float

    def __str__(self) -> str:
        """In words."""
        return (
            f"server: {self.transaction * 1e6:,.0f} µs a transaction and {self.item * 1e6:,.0f} µs an item; "
            f"worker: {self.worker_transaction * 1e6:,.0f} µs a transaction "
            f"and {self.worker_item * 1e6:,.0f} µs an item"
        )


@dataclass(frozen=True)
class Bound:
    """What a fleet comes to.

    Attributes:
        wanted: Items a second, if calls are all that takes time.
        connections: At most.
        transactions: A second.
        server_cores: Cores of the server that these need.
        binds: What binds first.
    """

    wanted: float
    connections: int
    transactions: float
    server_cores: float
    binds: str


def fitted(runs: Sequence[Run]) -> Costs:
    """Costs by least squares over runs, relative to each run's items."""
    server = _two([(run.claims + run.commits, run.items, run.server_cpu) for run in runs])
    worker = _two([(run.claims + run.commits, run.items, run.worker_cpu) for run in runs])
    return Costs(*server, *worker)


def _two(points: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """``a`` and ``b`` of ``a x + b y = z``, neither below 0; errors count by the part that they are of ``z``."""
    scaled = [(x / z, y / z) for x, y, z in points]
    xx, xy, yy = sum(x * x for x, _ in scaled), sum(x * y for x, y in scaled), sum(y * y for _, y in scaled)
    sx, sy = sum(x for x, _ in scaled), sum(y for _, y in scaled)
    determinant = xx * yy - xy * xy
    a, b = (sx * yy - sy * xy) / determinant, (sy * xx - sx * xy) / determinant
    if a < 0:
        return 0.0, sy / yy
    return (sx / xx, 0.0) if b < 0 else (a, b)


def predicted(costs: Costs, run: Run, slots: int = 10) -> float:
    """Items a second of a run, from its counts and the cores that it had."""
    each = (run.claims + run.commits) / run.items
    cpu = each * (costs.transaction + costs.worker_transaction) + costs.item + costs.worker_item
    by_cpu = run.cores / cpu
    return min(by_cpu, run.workers * slots / run.call) if run.call else by_cpu


def bounds(costs: Costs, workers: int, slots: int, call: float, window: float) -> Bound:
    """What a fleet of one-stage workers comes to on one server."""
    rate = slots / call  # of a worker, in items a second
    commits = min(1 / window, rate)
    claims = min(rate, rate / max(1.0, slots / 2, rate))
    transactions = workers * (commits + claims + BEATS)
    wanted = workers * rate
    cores = transactions * costs.transaction + wanted * costs.item
    connections = workers * PER_WORKER
    binds = "calls"
    by_python = costs.worker_item + (commits + claims + BEATS) / rate * costs.worker_transaction
    if rate * by_python > 1:
        binds = f"Python of each worker, at {workers / by_python:,.0f} items/s"
    if cores > SERVER_CORES:
        binds = f"server CPU, at {wanted * SERVER_CORES / cores:,.0f} items/s"
    if connections > MAX_CONNECTIONS:
        binds = "connections" if binds == "calls" else f"connections, then {binds}"
    return Bound(wanted, connections, transactions, cores, binds)
