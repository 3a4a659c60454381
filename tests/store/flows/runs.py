"""One run after the other on one store, of which some die."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pipeline_helpers import until
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage
from rxpipe.database import default_table
from rxpipe.errors import SinkError
from rxpipe.store.items.lease import not_ended, reap
from rxpipe.store.schema.tables import ITEMS
from store.bank import rows, states

from .power import Power, power

RESULTS = default_table("results")
RUN = 1


class Cut(Exception):
    """The power is cut."""


def stage(name: str, call: Callable[[Any], Any], **options: Any) -> Stage:
    """A stage of a function of any type, with options of any kind."""
    make: Any = Stage
    made: Stage = make(name, call, **options)
    return made


class Runs:
    """Runs of one pipeline.

    Attributes:
        calls: What its stages were called with, in order: the stage's name and the item's value.
        power: Of the run that is to die.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.calls: list[tuple[str, Any]] = []
        self.power = Power(float("inf"))

    def noted(self, name: str, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The same function, whose calls are noted."""

        def noted(value: Any) -> Any:
            self.calls.append((name, value))
            return call(value)

        return noted

    def pipeline(self, *stages: Stage, resume: bool = False, **options: Any) -> Pipeline:
        """A pipeline of these stages, with a store."""
        first, *others = stages
        sink = DatabaseSink(self.url, max_seconds=0.002, rows=options.pop("rows", ("written", "failed")))
        store = RunStore(resume=resume, **options.pop("store", {}))
        return Pipeline(*(first, *others), sink=sink, store=store, name="flow", **options)

    def die(self, pipeline: Pipeline, ids: Any) -> None:
        """Run it until a stage has cut the power; for others it is a dead worker then."""
        with power() as self.power, suppress(SinkError, DBAPIError):
            pipeline.run(ids)
        assert self.power.is_cut
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.begin() as connection:
            reap(connection, RUN, not_ended(connection, RUN))

    def cut_when(self, is_time: Callable[[dict[str, str]], bool]) -> None:
        """Cut the power once the items have come to some states, and end the call of the stage that calls this."""
        until(lambda: is_time(states(self.url)))
        self.power.cut()
        raise Cut

    def called(self, name: str) -> list[Any]:
        """What a stage was called with."""
        return [value for stage, value in self.calls if stage == name]

    def states(self) -> dict[str, str]:
        """The state of each item, by its key."""
        return states(self.url)

    def item(self, key: str) -> Any:
        """The row of an item."""
        return next(row for row in rows(self.url, ITEMS) if row.item_key == key)

    def written(self) -> dict[str, Any]:
        """The values of the rows that were written, by their keys."""
        return {row.id: row.value for row in rows(self.url, RESULTS) if row.status == "written"}

    def rows(self) -> list[tuple[str, str]]:
        """The keys and statuses of all rows."""
        return [(row.id, row.status) for row in rows(self.url, RESULTS)]

    def numbers(self) -> dict[str, int]:
        """Which of its parent's children each child is."""
        return {row.item_key: row.number for row in rows(self.url, ITEMS) if row.parent_key is not None}
