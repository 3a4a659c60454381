"""Random flows in processes of their own, which are killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipelines.flows.model import Flow

from rxpipe import Batch, Pipeline
from rxpipe.database import default_table
from store.faults.places import Place
from store.faults.work import Job

from .durable import Call, DurableMachinery, QuickStep, check_end, done


@dataclass(frozen=True, kw_only=True)
class FlowJob(Job):
    """A flow, as a process is told it.

    Attributes:
        flow: The flow.
        finished: Calls whose results were kept, and how many calls there were when that was seen.
    """

    flow: Flow
    finished: dict[Call, int] = field(default_factory=dict[Call, int])

    def pipeline(self, tell: Callable[[str], None]) -> Pipeline:
        """Notes its calls, as those of one item and stage in each round."""

        def note(call: Call) -> None:
            key, rounds, stage = call
            self.ledger.note(key, f"{rounds}/{stage}", 1)
            time.sleep(self.seconds)

        return DurableMachinery(self.flow, self.url, note=note, **self.store).pipeline()

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
        return check_end(self.flow, self.url, default_table("results"))


def flow_job(place: Place, flow: Flow, *, seconds: float = 0.002, **store: Any) -> FlowJob:
    """A flow in a place."""
    return FlowJob(
        url=place.url,
        directory=place.directory,
        items=tuple(range(flow.ids)),
        seconds=seconds,
        store={"lease": 2, "heartbeat": 0.3} | store,
        flow=flow,
    )


def bank(ids: int, *, seed: int) -> Flow:
    """Items that are expanded, collected, sent back, expanded again and dropped."""
    options: list[dict[str, Any]] = [
        {"max_rounds": 1},
        {"expand": True, "collected_by": 4},
        {"has_when": True},
        {"batch": Batch(max_items=3)},
        {"collect": True},
        {"max_rounds": 2, "trouble": 60},
        {"expand": True},
        {"has_key": True},
    ]
    common: dict[str, Any] = {"trouble": 20, "concurrency": 4, "queue_size": 4}
    steps = [QuickStep(index=index, seed=seed, **(common | one)) for index, one in enumerate(options)]
    return Flow(steps=list(steps), ids=ids)
