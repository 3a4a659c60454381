"""The queue of an open pipeline: admits IDs as there is room, and passes outcomes to the submitters."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import reactivex
from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxpipe.errors import ItemCancelled, Overloaded, PipelineClosed, RecordChanged
from rxpipe.operators.core.clock import TIMER_THREAD, running_loop
from rxpipe.operators.core.worker import HERE
from rxpipe.operators.errors import describe
from rxpipe.operators.runners.thread_runner import ThreadRunner
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.open.admitted_ids import AdmittedIds, Entry
from rxpipe.pipeline.open.submission import TELLING, Submission
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.record import Record, check_id
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.views import ItemView, RunView


class AdmissionQueue(Listener):
    """Admits at most ``capacity`` IDs at once; an ID counts until it leaves the stages. Other IDs wait in their order.

    Attributes:
        capacity: The most IDs that may be admitted at once.
        held: Number of IDs that were admitted and have not left the stages.
        closed: True if the queue takes no more IDs.
        progress_at: Time of the last event of any item, by the run's clock.
    """

    def __init__(
        self,
        capacity: float,
        publish: Callable[[Outcome[Any]], object] = lambda outcome: None,
        *,
        blocks: bool = True,
    ) -> None:
        """Begin empty.

        Args:
            capacity: The most IDs that may be admitted at once.
            publish: Called with outcomes from the store, before those who wait for them.
            blocks: True if a thread waits for room. False in virtual time, which may have to pass on that thread.
        """
        self.capacity = capacity
        self.held = 0
        self.closed = False
        self._publish = publish
        self._blocks = blocks
        self._now = TIMER_THREAD.now  # until there is a run, which may have another clock
        self._why: Exception | None = None
        self._lock = threading.Lock()
        self._entries: dict[int | str, Entry] = {}
        self._waiting: OrderedDict[Entry, None] = OrderedDict()
        self._let_in: OrderedDict[Entry, None] = OrderedDict()
        self._admitted_ids: AdmittedIds | None = None
        self.progress_at = self._now()
        self._item_seconds = 0.0  # from admission to leaving the stages, for recent items
        self._following = 0  # entries that follow another entry with the same ID

    @property
    def waiting(self) -> int:
        """Number of IDs that wait for admission."""
        return len(self._waiting)

    @property
    def unfinished(self) -> int:
        """Number of IDs that were submitted and have not ended."""
        return len(self._entries)

    @property
    def not_taken(self) -> int:
        """Number of submitted IDs without work here: they have no item yet, or the run left the item unfinished."""
        return sum(entry.item is None or entry.cut_off is not None for entry in list(self._entries.values()))

    def submit(self, item: int | str | Record, *, nowait: bool) -> Submission:
        """Take an ID or a record. If the same ID was submitted before and has not ended, both share one item.

        Where an event loop is running, this returns at once, and awaiting the submission also waits for room. The same
        holds in callbacks, subscribers and functions of stages. In any other thread, this returns when there is room.

        Args:
            item: The ID or the record. If several submissions share the item, the first record's value counts.
            nowait: True to refuse the ID if there is no room.

        Raises:
            Overloaded: There is no room, and ``nowait`` is True.
            PipelineClosed: The queue takes no more IDs.
            ConfigError: The ID is bad.
        """
        if (error := check_id(item)) is not None:
            raise error
        item_id = item.id if isinstance(item, Record) else item
        submission = Submission(item_id, self._cancel)
        with self._lock:
            if self.closed:
                raise self._refusal()
            entry = self._entries.get(item_id)
            former = entry if entry is not None and entry.cancelled else None
            if former is not None:
                entry = former.following
            is_new = entry is None
            if entry is None:
                if nowait and self.held >= self.capacity:
                    raise Overloaded(self.held, min(60.0, max(1.0, self._item_seconds)))
                if not self._entries:
                    self.progress_at = self._now()
                entry = Entry(item)
                if former is None:
                    self._line_up(entry)
                else:
                    former.following = entry
                    self._following += 1
            entry.submissions[submission] = None
            must_wait = self._blocks and not (nowait or entry.has_room or entry.item) and _may_block()
            if must_wait and entry.room is None:
                entry.room = threading.Event()
        if is_new:
            self._wake()
        if must_wait and entry.room is not None:
            entry.room.wait()
        return submission

    def _line_up(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        if self.held < self.capacity:
            self._admit(entry)
        else:
            self._waiting[entry] = None

    def _admit(self, entry: Entry) -> None:
        self.held += 1
        entry.has_room = True
        entry.let_in_at = self._now()
        self._let_in[entry] = None
        if entry.room is not None:
            entry.room.set()

    def _wake(self) -> None:
        if self._admitted_ids is not None and (self._let_in or self.closed):
            self._admitted_ids.wake()

    def _refusal(self) -> PipelineClosed:
        if self._why is None:
            return PipelineClosed()
        closed = PipelineClosed(f"the pipeline has failed: {describe(self._why)}")
        closed.__cause__ = self._why
        return closed

    def source(self, *, on_threads: bool = False) -> Observable[int | str | Record]:
        """Returns an observable of the admitted IDs, as there is room downstream.

        It completes when the queue is closed and empty.

        Args:
            on_threads: True to emit on rxpipe's threads, and not on threads that submit or make room. Those must not
                run code downstream, and Ctrl-C may hit them anywhere.
        """

        def subscribe(
            observer: ObserverBase[int | str | Record], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            dispatcher = ThreadRunner() if on_threads else None
            self._admitted_ids = AdmittedIds(self._next, self._is_over, observer, dispatcher)
            self._admitted_ids.wake()
            return self._admitted_ids

        return reactivex.create(subscribe)

    def _is_over(self) -> bool:
        if not self.closed:
            return False
        with self._lock:  # an entry may be moving from ``_waiting`` to ``_let_in``
            return not (self._waiting or self._let_in or self._following)

    def _next(self) -> Entry | None:
        with self._lock:
            if not self._let_in:
                return None
            entry, _ = self._let_in.popitem(last=False)
            entry.in_line = False
            return entry

    def _leave_line(self, entry: Entry) -> None:
        self._waiting.pop(entry, None)
        self._let_in.pop(entry, None)
        entry.in_line = False

    @property
    def silence(self) -> float:
        """Seconds since the last event of any item."""
        return self._now() - self.progress_at

    # Events of items

    def run_started(self, run: RunView) -> None:
        """Use the run's clock from now on."""
        self._now = lambda: run.seconds
        self.progress_at = self._now()

    def call_started(self, item: ItemView, stage: str) -> None:
        """Note the progress."""
        self.progress_at = self._now()

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        """Note the progress."""
        self.progress_at = self._now()

    def admitted(self, item: Item) -> None:
        """Remember the item of an ID."""
        self.progress_at = self._now()
        entry = self._entries.get(item.id)
        if entry is not None:
            item.context = entry.context
            entry.item = item
            if entry.cancelled:
                item.cancel()

    def left(self, item: ItemView) -> None:
        """Make room."""
        entry = self._entries.get(item.id)
        if entry is not None and entry.item in (None, item):  # not a child with the same ID
            with self._lock:
                self._make_room(entry)
            self._wake()

    def _make_room(self, entry: Entry) -> None:
        if not entry.has_room:
            return
        entry.has_room = False
        self.held -= 1
        seconds = self._now() - entry.let_in_at
        self._item_seconds += (seconds - self._item_seconds) / (5 if self._item_seconds else 1)
        while self._waiting and self.held < self.capacity:
            self._admit(self._waiting.popitem(last=False)[0])

    def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
        """Pass the outcome to the submitters, unless the run has left the item unfinished."""
        self.progress_at = self._now()
        entry = self._entries.get(item.id)
        if entry is None or outcome.parent is not None:  # a child may have a submitted ID
            return
        if outcome.status != "cancelled" or isinstance(outcome.error, ItemCancelled):
            self._end(entry, outcome)
            return
        entry.cut_off = outcome  # set before reading; ``ended_elsewhere`` does the reverse, so one of them sees both
        if entry.ended_elsewhere is not None:
            self._end_as_told(entry, entry.ended_elsewhere)

    def ended_elsewhere(self, outcome: Outcome[Any]) -> None:
        """A submitted ID has ended before, or in another process."""
        self.progress_at = self._now()
        entry = self._entries.get(outcome.id)
        if entry is None:
            return
        if isinstance(outcome.error, RecordChanged):
            self._end(entry, outcome.error)
            return
        entry.ended_elsewhere = outcome  # the item may be on its way here, though another worker has taken it over
        if entry.item is None or entry.cut_off is not None:
            self._end_as_told(entry, outcome)

    def _end_as_told(self, entry: Entry, outcome: Outcome[Any]) -> None:
        if self._entries.get(entry.id) is entry:
            self._publish(outcome)
        self._end(entry, outcome)

    def _end(self, entry: Entry, outcome: Outcome[Any] | RecordChanged) -> None:
        is_refused = not isinstance(outcome, Outcome) or outcome.status == "cancelled"
        with self._lock:
            if self._entries.get(entry.id) is not entry:
                return  # another thread has ended it
            del self._entries[entry.id]
            if entry.in_line:
                self._leave_line(entry)
            following = entry.following
            if following is not None:
                self._following -= 1
                if is_refused:
                    self._line_up(following)
            self._make_room(entry)
        self._wake()
        entry.end(outcome)
        if following is not None and not is_refused:  # the submission came too late to be a new item
            following.end(outcome)

    def _cancel(self, submission: Submission) -> bool:
        with self._lock:
            entry = former = self._entries.get(submission.id)
            if former is not None and submission not in former.submissions:
                entry = former.following
            if entry is None or former is None or submission not in entry.submissions:
                return False
            if is_last := len(entry.submissions) == 1:
                entry.cancelled = True
            else:
                del entry.submissions[submission]
            is_following = is_last and entry is not former
            if is_following:
                former.following = None
                self._following -= 1
            leaves_line = is_last and entry.in_line and entry.item is None
            if leaves_line:
                self._leave_line(entry)
        if not is_last:
            submission.end(_not_taken(entry, ItemCancelled()))
        elif is_following:
            entry.end(_not_taken(entry, ItemCancelled()))
            self._wake()
        elif leaves_line:
            self._end(entry, _not_taken(entry, ItemCancelled()))
        elif entry.item is not None:
            entry.item.cancel()
        return True

    # The end

    def close(self) -> None:
        """Take no more IDs. Submitted ones are still admitted."""
        with self._lock:
            self.closed = True
        if self._admitted_ids is not None:
            self._admitted_ids.wake()

    def fail(self, error: Exception | None) -> None:
        """The run is over: end all remaining IDs, with an error if the run failed."""
        with self._lock:
            self.closed = True
            self._why = error
            entries = list(self._entries.values())
            entries += [entry.following for entry in entries if entry.following is not None]
            for line in (self._entries, self._waiting, self._let_in):
                line.clear()
            self.held = self._following = 0
        for entry in entries:
            entry.end((entry.cut_off or _not_taken(entry)) if error is None else self._refusal())


def _may_block() -> bool:
    """Returns True if this thread may wait for room. False for a thread that might have to make the room."""
    return running_loop() is None and not TELLING.now and HERE.worker is None


def _not_taken(entry: Entry, error: ItemCancelled | None = None) -> Outcome[Any]:
    return Outcome(id=entry.id, status="cancelled", value=entry.value, error=error, stage=None, attempts=0, seconds=0.0)
