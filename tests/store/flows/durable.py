"""Random flows with a store: they run until they are cut off, go on, and must end as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pipelines.flows.model import Flow, Machinery, Plan, Step, expected, number_of
from sqlalchemy import Row, create_engine, select
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, Retry, RunStore, Stage
from rxpipe.errors import SinkError
from rxpipe.operators.core.running_call import running_call
from rxpipe.pipeline.outcome import Report, Status
from rxpipe.store.schema.tables import CHECKPOINTS, ITEMS
from store.bank import rows

from .power import Power, power

STATUSES: tuple[Status, ...] = ("written", "failed", "dropped", "expanded", "collected")

Call = tuple[str, int, int]
"""An item's key, how often it was sent back, and the index of the stage."""


@dataclass(frozen=True, kw_only=True)
class QuickStep(Step):
    """A step that takes no time.

    Attributes:
        cache: Whether its results are used again, also those of other items.
    """

    cache: bool = False

    def plan(self, value: int, told: object) -> Plan:
        """The same, but nothing hangs."""
        plan = super().plan(value, told)
        return replace(plan, seconds=0, kind="fail" if plan.kind == "hang" else plan.kind)


class DurableMachinery(Machinery):
    """The functions of one process.

    Attributes:
        calls: Those that were made.
    """

    def __init__(
        self,
        flow: Flow,
        url: str,
        *,
        name: str = "flow",
        note: Callable[[Call], object] = lambda call: None,
        table: str = "results",
        **store: Any,
    ) -> None:
        """Describe them; ``note`` is told of each call, and ``store`` has options of the ``RunStore``."""
        super().__init__(flow, "threads")
        self._url, self._name, self._note, self._table = url, name, note, table
        self._store: dict[str, Any] = {"max_crashes": 1000} | store
        self.calls: list[Call] = []

    def pipeline(self) -> Pipeline:
        """All of it, with a store."""
        first, *others = [self._durable(step) for step in self.flow.steps]
        return Pipeline(
            *(first, *others),
            strategy=self.flow.strategy,
            concurrency=self.flow.concurrency,
            sink=DatabaseSink(self._url, table=self._table, rows=STATUSES, max_seconds=0.002),
            store=RunStore(**self._store),
            name=self._name,
        )

    def _durable(self, step: Step) -> Stage:
        call = self._batch(step) if step.batch is not None else self._plain(step)

        def noted(value: Any) -> Any:
            running: Any = running_call.get()
            each: Any = getattr(running, "call", running)
            for one in getattr(each, "expected", None) or (each,):
                made = str(one.item.id), one.item.rounds, step.index
                self.calls.append(made)
                self._note(made)
            return call(value)

        options: Any = {
            "expand": step.expand,
            "collect": step.collect,
            "batch": None if step.batch is None else replace(step.batch, max_seconds=0.001),
            "when": step.takes if step.has_when else None,
            "key": step.key if step.has_key else None,
        }
        return Stage(
            str(step.index),
            noted,
            concurrency=step.concurrency,
            queue_size=step.queue_size,
            max_rounds=step.max_rounds,
            retry=Retry(max_attempts=2, initial=0.0001, jitter=0),
            version=1,
            cache=isinstance(step, QuickStep) and step.cache,
            **options,
        )


def done(url: str) -> set[Call]:
    """The calls whose results are kept, or that went before such: none of them is to be made again."""
    found: set[Call] = set()
    engine = create_engine(url, poolclass=NullPool, isolation_level="SERIALIZABLE")  # one state, in both tables
    with engine.connect() as connection:
        items = {row.item_key: row for row in connection.execute(select(ITEMS))}
        checkpoints = connection.execute(select(CHECKPOINTS)).all()
    for row in checkpoints:
        first = 0 if items[row.item_key].made_by is None else items[row.item_key].made_by + 1
        if row.stage >= first:
            found.add((row.item_key, items[row.item_key].rounds, row.stage))
    for key, item in items.items():
        if item.state == "expanded" or (item.collected_by is not None and item.stage < item.collected_by):
            found.add((key, item.rounds, item.stage))
    return found


class Attempt:
    """One process."""

    def __init__(self, flow: Flow, url: str, cut_at: float = float("inf")) -> None:
        self.machinery = DurableMachinery(flow, url)
        self.report: Report | None = None
        self.power: Power
        with power(cut_at) as self.power, suppress(SinkError, DatabaseError):
            self.report = self.machinery.pipeline().run(range(flow.ids))
        assert self.report is not None or self.power.is_cut


def check(flow: Flow, url: str, cuts: Sequence[float], table: Any, before: Attempt | None = None) -> int:
    """Run it, cut off at these places one after the other, and then to its end; and compare.

    Args:
        flow: The flow.
        url: The database.
        cuts: The places.
        table: The rows.
        before: A process that was cut off before these.

    Returns:
        How many places the last process came by.
    """
    finished: set[Call] = set()
    if before is not None:
        with suppress(OperationalError):
            finished = done(url)
    attempt: Attempt | None = None
    for cut_at in (*cuts, float("inf")):
        attempt = Attempt(flow, url, cut_at)
        again = finished.intersection(attempt.machinery.calls)
        assert not again, f"calls after their checkpoints: {again}"
        if attempt.power.is_cut:
            with suppress(OperationalError):  # there may be no tables yet
                finished |= done(url)
        assert attempt.machinery.broken == []
    check_end(flow, url, table)
    assert attempt is not None
    report = attempt.report
    assert report is not None
    ends = report.written + report.failed + report.dropped + report.expanded + report.collected + report.cancelled
    assert report.taken + report.spawned == ends
    assert report.finished
    return attempt.power.points


def check_end(flow: Flow, url: str, table: Any) -> Counter[str]:
    """Compare what the store and the sink hold with what the flow's items should have come to; how many are in what."""
    wanted = expected(flow)
    states: Iterable[Row[Any]] = rows(url, ITEMS)
    found = Counter((row.item_key, row.state) for row in states)
    ends = Counter((str(item_id), status) for item_id, status, _ in wanted.elements())
    assert found == ends, f"too much: {found - ends}, missing: {ends - found}"
    written = {row.id: (row.status, row.value) for row in rows(url, table)}
    assert {key: status for key, (status, _) in written.items()} == dict(list(ends))
    values = {str(item_id): value for item_id, status, value in wanted.elements() if status == "written"}
    assert {key: number_of(value) for key, (status, value) in written.items() if status == "written"} == values
    return Counter(status for _, status in ends.elements())


def check_until(flow: Flow, url: str, table: Any, until: int) -> Counter[str]:
    """The same of a flow that ended when so many rows were written: as many, and all that has ended as it should."""
    wanted = expected(flow)
    ends = Counter((str(item_id), status) for item_id, status, _ in wanted.elements())
    states: Iterable[Row[Any]] = rows(url, ITEMS)
    found = Counter((row.item_key, row.state) for row in states if row.state in STATUSES)
    assert not found - ends, f"too much: {found - ends}"
    values = {str(item_id): value for item_id, status, value in wanted.elements() if status == "written"}
    told = Counter(status for _, status in found.elements())
    assert told["written"] == until < len(values)
    written = {row.id: (row.status, row.value) for row in rows(url, table)}
    statuses = Counter((key, status) for key, (status, _) in written.items())
    assert statuses == found, f"too many rows: {statuses - found}, missing: {found - statuses}"
    good = {key: number_of(value) for key, (status, value) in written.items() if status == "written"}
    assert good == {key: values[key] for key in good}
    return told
