"""Flows whose processes are killed: jobs as those of ``store.faults``, so that the same machinery starts them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipelines.flows.model import Flow

from rxpipe import Pipeline
from rxpipe.database import default_table
from rxpipe.pipeline.plan import until_written
from store.faults.pauses import Pauses
from store.faults.places import Place
from store.faults.work import Job

from .durable import Call, DurableMachinery, check_end, check_until, done


@dataclass(frozen=True, kw_only=True)
class FlowJob(Job):
    """A flow, as a process is told it.

    Attributes:
        flow: The flow.
        until: How many rows are wanted; None for all.
        finished: Calls whose results were kept, and how many calls there were when that was seen.
    """

    flow: Flow
    until: int | None = None
    finished: dict[Call, int] = field(default_factory=dict[Call, int])

    def pipeline(self, tell: Callable[[str], None]) -> Pipeline:
        """Notes its calls, as those of one item and stage in each round."""

        def note(call: Call) -> None:
            key, rounds, stage = call
            self.ledger.note(key, f"{rounds}/{stage}", 1)
            if self.pauses is not None:
                self.pauses.wait(self.ledger)
            time.sleep(self.seconds)

        made = DurableMachinery(self.flow, self.url, note=note, **self.store).pipeline()
        return until_written(made, self.until)

    def look(self) -> None:
        """Remember what is kept now."""
        kept = done(self.url)
        calls = len(self.ledger.calls())  # after it: what comes later was certainly called later
        for call in kept:
            self.finished.setdefault(call, calls)

    def check(self) -> Counter[str]:
        """See that all items are as they should be, and that no call was made behind its checkpoint."""
        self.look()
        for number, call in enumerate(self.ledger.calls()):
            rounds, _, stage = call.stage.partition("/")
            made = call.item, int(rounds), int(stage)
            assert number < self.finished.get(made, number + 1), f"{made} was called when its result was kept"
        table = default_table("results")
        if self.until is not None:
            return check_until(self.flow, self.url, table, self.until)
        return check_end(self.flow, self.url, table)


def flow_job(
    place: Place,
    flow: Flow,
    *,
    seconds: float = 0.002,
    until: int | None = None,
    pauses: Pauses | None = None,
    **store: Any,
) -> FlowJob:
    """A flow in a place."""
    return FlowJob(
        url=place.url,
        directory=place.directory,
        items=tuple(range(flow.ids)),
        seconds=seconds,
        store={"lease": 2, "heartbeat": 0.3} | store,
        flow=flow,
        until=until,
        pauses=pauses,
    )
