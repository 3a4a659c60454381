"""Feeds claimed items into the stages: first those that wait in the store, then those of the source."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any, TypeVar

import reactivex
import structlog
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable
from sqlalchemy import Connection

from rxpipe.operators.core.clock import TIMER_THREAD, Clock, clock_for
from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.source import as_observable
from rxpipe.store.commits.outage_limit import Policy
from rxpipe.store.items.claims import Claims
from rxpipe.store.items.ended_items import KeyedId
from rxpipe.store.items.in_flight import InFlightClaims
from rxpipe.store.items.source_ids import MOST, SourceIds
from rxpipe.store.schema.database import Database
from rxpipe.store.wakeups import Wakeups

T = TypeVar("T")

_POLL = 0.5  # seconds between two looks for items that other workers have lost

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Feed:
    """Gives claims one by one. Ends when nothing is left to do in the run, unless the worker stays.

    A claim takes half as many items as the stages hold, or as many as end in a second, if that is more, up to 500. That
    is enough to keep calls busy, and leaves items to other workers.

    Attributes:
        exhausted: True if the source was read to its end, and nothing was left to do in the run.
        is_waiting: True if the feed gives nothing until the items in hand have ended.
    """

    def __init__(
        self,
        database: Database,
        claims: Claims,
        in_flight: InFlightClaims,
        *,
        window: float,
        retry: Policy,
        over: threading.Event,
        ended: Callable[[Connection, Set[KeyedId]], list[tuple[KeyedId, Outcome[Any]]]] = lambda one, ids: [],
        flush: Callable[[], object] = lambda: None,
        wakeups: Wakeups | None = None,
    ) -> None:
        """Describe a feed.

        Args:
            database: The store's database.
            claims: Claims the items.
            in_flight: Gets the claimed items.
            window: How many items the stages hold.
            retry: How long to try while the database is away.
            over: Set when the worker claims no more.
            ended: Returns the outcomes of those IDs that have ended, as ``ended_items.ended`` does.
            flush: Commits waiting records now.
            wakeups: Tells a worker that stays about new items; None for a worker that ends when nothing is left to do.
        """
        self._database = database
        self._claims = claims
        self._in_flight = in_flight
        self._retry = retry
        self._over = over
        self._ended = ended
        self._window = max(1, int(min(MOST, window)))
        self.exhausted = False
        self._clock: Clock = TIMER_THREAD  # until the feed begins
        self._began = 0.0
        self._look = 1
        self._tell: Callable[[Outcome[Any]], None] | None = None
        self._watched: set[KeyedId] = set()
        self._looked_at = 0.0
        self._told = False
        self._claiming = threading.Lock()
        self._flush = flush
        self._wakeups = wakeups
        self._wake: Callable[[], object] = lambda: None  # until the feed begins
        self.is_waiting = False

    def tell(self, tell: Callable[[Outcome[Any]], None]) -> None:
        """Report how IDs end that the run already knew.

        The feed then ends with its source, whatever others still have to do.
        """
        self._tell = tell
        self._claims.changed.refuses = True

    def wake(self) -> None:
        """Look at once for work in the store. From any thread."""
        self._wake()

    def watch(self, ids: Iterable[KeyedId]) -> None:
        """Report how these IDs end, which this worker does not have."""
        if self._tell is not None:
            self._watched.update(ids)
            self._looked_at = 0.0

    def observable(self, ids: Observable[Any]) -> Observable[Claim]:
        """Returns the claims, pulled when there is room for them."""

        def subscribe(observer: ObserverBase[Claim], scheduler: SchedulerBase | None = None) -> DisposableBase:
            inbox = SourceIds()
            self._clock = clock_for(None, scheduler)
            self._began = self._clock.now()
            self._wake = inbox.wake
            if self._wakeups is not None:
                self._wakeups.start(inbox.wake)
            upstream = inbox.subscribe_to(ids, scheduler)
            claims = as_observable(self._all(inbox)).subscribe(observer)
            return CompositeDisposable(claims, upstream, Disposable(inbox.close))

        return reactivex.create(subscribe)

    def _all(self, inbox: SourceIds) -> Iterator[Claim]:
        while not self._over.is_set() and not inbox.closed:
            if self._claims.quota is not None and self._claims.quota.is_reached:
                self.exhausted = inbox.error is None
                break
            self._look_for_ended()
            if self._tell is not None and inbox.ended and not self._watched:
                # Items in hand may still be lost to other workers, and are watched then.
                if not self._wait_for_items() or self._watched:
                    continue
                self.exhausted = inbox.error is None
                break
            idle = self._in_flight.wait_until(0, 0.0)
            claimed = self._claimed(functools.partial(self._waiting, idle=idle))
            if claimed is None or (claimed and claimed[0].quarantined):
                yield from self._wanted(claimed or ())
                self._wait_until_idle(inbox)
                continue
            if not inbox.ended and not (claimed and (self._tell is None or inbox.empty)):
                # A new submission does not wait for all items that an earlier process has left.
                claimed = self._from_source(inbox, self._seconds(idle)) + claimed
            elif not claimed and self._wakeups is not None and inbox.error is None:
                inbox.wait(self._seconds(idle))  # others may submit more
            elif not claimed:
                left = self._in_transaction(self._claims.left)
                if left is None or not (left.ready or left.running):
                    if left is not None and self._tell is not None:
                        self._look_for_the_last()
                        continue
                    self.exhausted = left is not None and inbox.error is None
                    break
                if not idle:
                    self._wait_for_items()
                elif left.ready:
                    inbox.pause(_POLL / 10)  # another worker is claiming them
                else:
                    self._wait_for_others(inbox)
            yield from self._wanted(claimed)
        if inbox.error is not None:
            raise inbox.error

    def _seconds(self, idle: bool) -> float:
        """Returns how long to wait for more items, in seconds.

        Items in hand may make more items ready without a wakeup.
        """
        return _POLL if self._wakeups is None or not idle else self._wakeups.seconds

    def _wanted(self, claims: Iterable[Claim]) -> Iterator[Claim]:
        """Returns the claims until the worker is over. The other claims are given back when it ends."""
        return itertools.takewhile(lambda _: not self._over.is_set(), claims)

    def _waiting(self, connection: Connection, *, idle: bool) -> list[Claim] | None:
        return self._claims.waiting(connection, self._size(), self._window, idle=idle)

    def _wait_until_idle(self, inbox: SourceIds) -> None:
        """Wait until nothing is in hand, as quarantined items run alone or wait to do so."""
        while not (self._over.is_set() or inbox.closed or self._wait_for_items()):
            pass

    def _wait_for_items(self) -> bool:
        """Returns True if nothing is in hand soon. Commits waiting records now, as nothing is to follow them."""
        self.is_waiting = True
        self._flush()
        try:
            return self._in_flight.wait_until(0, _POLL)
        finally:
            self.is_waiting = False

    def _wait_for_others(self, inbox: SourceIds) -> None:
        """Wait, as other workers have the remaining items and may lose them."""
        if not self._told:
            self._told = True
            _log.info(
                "waiting for items that other workers have", hint=f"rxpipe workers {self._database.found_by} lists them"
            )
        inbox.pause(_POLL)

    def _from_source(self, inbox: SourceIds, seconds: float) -> list[Claim]:
        most = min(max(self._look, self._size()), self._claims.room)
        if most < 1:
            inbox.pause(_POLL / 10)
            return []
        ids = inbox.take(int(most), seconds)
        if not ids:
            return []
        first = inbox.taken - len(ids)
        refused = self._claims.changed.refused

        def claim(connection: Connection) -> list[Claim]:
            refused.clear()
            return self._claims.new(connection, ids, first)

        new = self._claimed(claim) or []
        if self._tell is not None and len(new) < len(ids):
            for (_, one), error in refused.items():
                self._tell(_refused(one, error))
            added = {(claim.key, claim.id) for claim in new} | refused.keys()
            self.watch(one for one in self._claims.keyed(ids) if one not in added)
        # If nearly all IDs are known, fairness to other workers does not matter: look at more IDs at a time.
        self._look = min(MOST, 2 * len(ids)) if len(new) < len(ids) / 2 else 1
        return new

    def _look_for_ended(self) -> None:
        if self._tell is None or not self._watched or time.monotonic() < self._looked_at + _POLL / 5:
            return
        for keyed_id, outcome in self._in_transaction(lambda one: self._ended(one, self._watched.copy())) or ():
            self._watched.discard(keyed_id)
            self._tell(outcome)
        self._looked_at = time.monotonic()

    def _look_for_the_last(self) -> None:
        """Look a last time, as nothing is left to do: watched items that have not ended are gone."""
        gone = self._watched.copy()
        self._looked_at = 0.0
        self._look_for_ended()
        self._watched -= gone

    def _size(self) -> int:
        seconds = self._clock.now() - self._began
        return max(1, self._window // 2, min(MOST, int(self._in_flight.ended / max(seconds, 1e-3))))

    def end(self) -> None:
        """Wait until nothing more can be claimed. Call this after the worker is over."""
        with self._claiming:
            pass

    def _claimed(self, claim: Callable[[Connection], list[Claim] | None]) -> list[Claim] | None:
        claims = self._in_transaction(claim)
        self._in_flight.add(claims or ())
        return claims

    def _in_transaction(self, action: Callable[[Connection], T]) -> T | None:
        with self._claiming:
            return self._database.patiently(action, self._retry, self._over, again=self._recover)

    def _recover(self, connection: Connection) -> None:
        self._claims.recover(connection, self._in_flight.keys(self._claims.owner))


def _refused(item_id: int | str, error: Exception) -> Outcome[Any]:
    return Outcome(id=item_id, status="failed", value=item_id, error=error, stage=None, attempts=0, seconds=0.0)
