"""The metrics that no listener has: the state of the run and its store. They are read when metrics are collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from rxpipe.otel import attributes as names
from rxpipe.service.health import HealthWatch
from rxpipe.service.store_watch import StoreWatch

STATE = "rxpipe.item.state"
PIPELINE = "rxpipe.pipeline.name"
RUN = "rxpipe.run.number"

_Values: TypeAlias = Iterable[tuple[float, Mapping[str, str]]]


class _Gauges:
    """Reads the value of each gauge."""

    def __init__(self, health: HealthWatch, store: StoreWatch | None) -> None:
        self._health = health
        self._store = store

    def is_stalled(self) -> _Values:
        yield float(self._health.look().status == "stalled"), {}

    def is_draining(self) -> _Values:
        yield float(self._health.is_draining), {}

    def silence(self) -> _Values:
        yield self._health.look().silence, {}

    def in_flight(self) -> _Values:
        if (run := self._health.latest) is not None:
            yield run.in_flight, {}

    def cost(self) -> _Values:
        if (run := self._health.latest) is not None:
            yield run.usage_before.cost + run.usage.cost, {}

    def about(self) -> _Values:
        if (run := self._health.latest) is not None:
            yield 1, {PIPELINE: run.pipeline or "", RUN: "" if run.run is None else str(run.run)}

    def concurrency(self) -> _Values:
        if (run := self._health.latest) is not None:
            for stage in run.stages:
                if stage.concurrency is not None:
                    yield stage.concurrency, {names.STAGE: stage.name}

    def store_up(self) -> _Values:
        answers = self._store is None or not self._store.reason
        yield float(answers and self._health.away is None), {}

    def store_waiting(self) -> _Values:
        yield self._health.away or 0.0, {}

    def dead_letters(self) -> _Values:
        if self._store is not None and (found := self._store.backlog) is not None:
            yield found.dead_letters, {}

    def backlog(self) -> _Values:
        if self._store is not None and (found := self._store.backlog) is not None:
            yield found.ready, {STATE: "ready"}
            yield found.running, {STATE: "running"}
            yield found.waiting, {STATE: "waiting"}

    def lag(self) -> _Values:
        if self._store is not None and (seconds := self._store.lag) is not None:
            yield seconds, {}


def add_gauges(meter: Meter, health: HealthWatch, store: StoreWatch | None, build: Mapping[str, str]) -> None:
    """Make the instruments.

    Args:
        meter: Makes the instruments.
        health: Watches the run.
        store: Watches its store; None without one.
        build: The versions that are running, as labels.
    """
    of = _Gauges(health, store)

    def gauge(name: str, read: Callable[[], _Values], description: str, unit: str = "") -> None:
        def callback(options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, dict(attributes)) for value, attributes in read()]

        meter.create_observable_gauge(name, [callback], unit=unit, description=description)

    gauge("rxpipe.run.stalled", of.is_stalled, "1 if the run has items and none has changed for too long, else 0")
    gauge("rxpipe.run.draining", of.is_draining, "1 if the run takes no more items and finishes its last ones, else 0")
    gauge("rxpipe.run.silence", of.silence, "Time since anything happened to an item; 0 if the run has no items", "s")
    gauge("rxpipe.run.in_flight", of.in_flight, "Items in progress in this process", "{item}")
    gauge("rxpipe.run.cost", of.cost, "Cost of the run so far, including its earlier processes", "{currency}")
    gauge("rxpipe.run.info", of.about, "The run that this process works on")
    gauge("rxpipe.stage.concurrency", of.concurrency, "Number of calls of the stage that may run at once now", "{call}")
    gauge("rxpipe.store.up", of.store_up, "1 if the store answers and accepts commits, else 0")
    gauge("rxpipe.store.waiting", of.store_waiting, "Time without a successful commit, while commits fail; else 0", "s")
    gauge("rxpipe.store.dead_letters", of.dead_letters, "Items of the run that failed for good", "{item}")
    gauge("rxpipe.store.backlog", of.backlog, "Items of the run that have not ended, across all workers", "{item}")
    gauge("rxpipe.store.lag", of.lag, "Waiting time of the oldest item that waits for a worker", "s")
    gauge("rxpipe.build.info", lambda: [(1, build)], "The versions of rxpipe and Python")
