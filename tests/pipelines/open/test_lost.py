"""Items that another worker has taken over, or never gave up: whoever submitted them hears how they end."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterable, Set
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import reactivex
from pipeline_helpers import LIMIT

from rxpipe.errors import ItemCancelled, LeaseLost
from rxpipe.operators import Retry
from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.open.admission_queue import AdmissionQueue
from rxpipe.pipeline.open.submission import Submission
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.run.item import Item
from rxpipe.store.items.claims import Claims, Left
from rxpipe.store.items.ended_items import KeyedId
from rxpipe.store.items.feed import Feed
from rxpipe.store.items.in_flight import InFlightClaims
from rxpipe.store.schema.database import Database


def outcome(status: Any, error: Exception | None = None) -> Outcome[Any]:
    return Outcome(id=1, status=status, value=1, error=error, stage=None, attempts=1, seconds=0.0)


class Elsewhere:
    """A database and claims, as a feed sees them: nothing to be claimed here, and maybe a worker that has an item.

    Attributes:
        has_ended: IDs that have ended by now.
        looks: How often somebody has asked what is left.
    """

    owner = "me"
    found_by = "-c here.yaml"
    quota = None
    room = math.inf

    def __init__(self, *, running: int = 0) -> None:
        self.has_ended: set[KeyedId] = set()
        self.looks = 0
        self._running = running
        self.changed = SimpleNamespace(refused={}, refuses=False)

    def patiently(self, action: Any, *_: Any, **more: Any) -> Any:
        return action(None)

    def waiting(self, *_: Any, **more: Any) -> list[Claim]:
        return []

    def keyed(self, ids: Iterable[int | str]) -> list[KeyedId]:
        return [(str(one), one) for one in ids]

    def new(self, *_: Any) -> list[Claim]:
        return []

    def left(self, _: Any) -> Left:
        """The other worker's commit comes just before the last look."""
        self.looks += 1
        if self.looks > self._running:
            self.has_ended.add(("1", 1))
        return Left(ready=False, running=self.looks <= self._running)

    def ended(self, _: Any, ids: Set[KeyedId]) -> list[tuple[KeyedId, Outcome[Any]]]:
        return [(one, outcome("written")) for one in ids & self.has_ended]

    def feed(self, in_flight: InFlightClaims) -> Feed:
        return Feed(
            cast("Database", self),
            cast("Claims", self),
            in_flight,
            window=10,
            retry=Retry(),
            over=threading.Event(),
            ended=self.ended,
        )


def test_what_another_worker_ends_at_the_last_moment() -> None:
    """Between the look for what has ended and that for what is left: it is told nevertheless."""
    told: list[Any] = []
    done = threading.Event()
    feed = Elsewhere().feed(InFlightClaims())
    feed.tell(told.append)
    feed.observable(reactivex.from_iterable([1])).subscribe(on_completed=done.set)
    assert done.wait(LIMIT)
    assert [one.status for one in told] == ["written"]
    assert feed.exhausted


def test_what_is_gone_is_not_waited_for() -> None:
    """As where somebody has deleted it."""
    done = threading.Event()
    elsewhere = Elsewhere()
    feed = elsewhere.feed(InFlightClaims())
    feed.tell(lambda _: None)
    feed.watch([("2", 2)])
    feed.observable(reactivex.empty()).subscribe(on_completed=done.set)
    assert done.wait(LIMIT)


@pytest.mark.slow
def test_what_is_lost_while_it_is_closed() -> None:
    """The source is over, the item was still in hand: how it ends elsewhere is told before the feed ends."""
    told: list[Any] = []
    done = threading.Event()
    in_flight, claim = InFlightClaims(), Claim(id=1, key="1", owner="me", fence=1)
    in_flight.add([claim])
    elsewhere = Elsewhere(running=1)
    feed = elsewhere.feed(in_flight)
    feed.tell(told.append)
    feed.observable(reactivex.empty()).subscribe(on_completed=done.set)
    assert not done.wait(0.05)
    feed.watch([("1", 1)])  # what a commit does that finds it lost
    in_flight.end([claim])
    assert done.wait(LIMIT)
    assert [one.status for one in told] == ["written"]


def test_what_was_lost_and_is_known_by_then() -> None:
    """Whichever is noticed first: the submission gets the outcome that it had elsewhere, which is published once."""
    for lost_first in (False, True):
        published: list[Any] = []
        queue = AdmissionQueue(1, published.append)
        items: list[Item] = []

        def take(item_id: Any, queue: AdmissionQueue = queue, items: list[Item] = items) -> None:
            items.append(Item(item_id, 0.0))
            queue.admitted(items[-1])

        queue.source().subscribe(take)
        submission = queue.submit(1, nowait=True)
        queue.left(items[0])
        for is_loss in (lost_first, not lost_first):
            assert not submission.done()
            if is_loss:
                queue.ended(items[0], outcome("cancelled", LeaseLost("lost")))
            else:
                queue.ended_elsewhere(outcome("written"))
        assert submission.result().status == "written"
        assert len(published) == 1
        queue.ended_elsewhere(outcome("written"))
        assert len(published) == 1


def test_known_ids_are_progress() -> None:
    """Health goes by it: a pipeline to which nothing but IDs that have ended before are submitted is not stalled."""
    queue = AdmissionQueue(1)
    queue.progress_at = before = 0.0
    queue.ended_elsewhere(outcome("written"))
    assert queue.progress_at > before


def test_what_ends_while_it_is_in_line() -> None:
    """Its item came from an earlier process: it leaves the line, and takes up no room later."""
    queue = AdmissionQueue(1)
    items: list[Item] = []

    def take(item_id: Any) -> None:
        items.append(Item(item_id, 0.0))
        queue.admitted(items[-1])

    queue.source().subscribe(take)
    first = queue.submit(2, nowait=True)

    async def submit() -> Submission:
        return queue.submit(1, nowait=False)

    second = asyncio.run(submit())
    take(1)
    queue.left(items[1])
    queue.ended(items[1], outcome("written"))
    assert second.result().status == "written"
    assert (queue.held, queue.waiting) == (1, 0)
    queue.left(items[0])
    queue.ended(items[0], replace(outcome("written"), id=2))
    assert first.done()
    assert (queue.held, queue.waiting, len(items)) == (0, 0, 2)


def test_cancelling_what_is_in_line_and_on_its_way() -> None:
    """Its item came from an earlier process: that is cancelled."""
    queue = AdmissionQueue(1)
    queue.source().subscribe(lambda item_id: queue.admitted(Item(item_id, 0.0)))
    queue.submit(2, nowait=True)

    async def submit() -> Submission:
        return queue.submit(1, nowait=False)

    submission = asyncio.run(submit())
    item = Item(1, 0.0)
    queue.admitted(item)
    assert submission.cancel()
    assert not submission.done()
    assert item.is_cancelled
    queue.ended(item, outcome("cancelled", ItemCancelled()))
    assert submission.result().status == "cancelled"
    assert (queue.held, queue.waiting) == (1, 0)
