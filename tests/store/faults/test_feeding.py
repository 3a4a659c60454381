"""What a worker is given, and what it is not given meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from reactivex import Observable
from reactivex.subject import Subject
from sqlalchemy import Connection, update

from rxpipe.operators import Retry, from_iterable
from rxpipe.pipeline.claim import Claim
from rxpipe.store.items.feed import Feed
from rxpipe.store.schema.tables import ITEMS

from .waiting import until
from .workers import Worker, workers

ALONE = 3  # crashes with which an item is tried alone
A_WHILE = 0.1  # seconds, in which something would have come if it came


@pytest.fixture
def worker(store_url: str) -> Iterator[Worker]:
    """The one worker of a run."""
    with workers(store_url, 1) as (made,):
        yield made


def add(worker: Worker, *ids: int, crashes: int = 0) -> None:
    """Let there be items that wait."""
    with worker.database.transaction() as connection:
        worker.claims.new(connection, ids, 0)
        mine = update(ITEMS).where(ITEMS.c.item_key.in_(map(str, ids)))
        connection.execute(mine.values(state="ready", owner=None, crashes=crashes))


@contextmanager
def fed(worker: Worker, ids: Observable[Any]) -> Generator[list[Claim]]:
    """What comes into its stages, while this is entered."""
    retry = Retry(max_attempts=2, initial=0.001, jitter=0)
    feed = Feed(worker.database, worker.claims, worker.in_flight, window=4, retry=retry, over=worker.lease.over)
    taken: list[Claim] = []
    subscription = feed.observable(ids).subscribe(taken.append)
    try:
        yield taken
    finally:
        worker.lease.stop()
        subscription.dispose()


def wait_for(taken: list[Claim], ids: Iterable[int]) -> None:
    """Wait until so many have come, and see that they are these."""
    expected = list(ids)
    until(f"{len(expected)} are taken", lambda: len(taken) >= len(expected), 10)
    threading.Event().wait(A_WHILE)
    assert [claim.id for claim in taken] == expected


@pytest.mark.slow
def test_nothing_is_given_beside_a_suspect(worker: Worker) -> None:
    """What waits behind it comes when it has come to an end."""
    add(worker, 1)
    add(worker, 2, crashes=ALONE)
    with fed(worker, from_iterable([3])) as taken:
        wait_for(taken, [2])
        worker.in_flight.end(taken)
        wait_for(taken, [2, 1, 3])


@pytest.mark.slow
def test_a_suspect_is_given_beside_nothing(worker: Worker) -> None:
    """It waits for what is in hand."""
    ids: Subject[int] = Subject()
    with fed(worker, ids) as taken:
        ids.on_next(1)
        wait_for(taken, [1])
        add(worker, 2, crashes=ALONE)
        ids.on_next(3)
        wait_for(taken, [1, 3])
        worker.in_flight.end(list(taken))
        wait_for(taken, [1, 3, 2])


@pytest.mark.parametrize("number", range(1, 7))
def test_answers_that_are_lost(worker: Worker, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What was claimed, though it was not heard of, is claimed again, and each item is given once."""
    add(worker, 1, 2, 3)
    transaction = worker.database.transaction
    numbers = iter(range(1, 1000))

    @contextmanager
    def unanswered(**options: Any) -> Generator[Connection]:
        with transaction(**options) as connection:
            yield connection
        if next(numbers) == number:
            raise ConnectionError

    monkeypatch.setattr(worker.database, "transaction", unanswered)
    with fed(worker, from_iterable([4, 5, 6])) as taken:
        until("all are taken", lambda: len(taken) >= 6, 10)
    had = sorted((row.item_key, row.state, row.owner, row.fence) for row in worker.all(ITEMS))
    assert had == sorted((claim.key, "running", claim.owner, claim.fence) for claim in taken)
