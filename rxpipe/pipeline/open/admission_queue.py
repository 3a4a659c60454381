"""Where IDs are submitted to an open pipeline: it lets in as many as there is room for, and tells how they ended."""

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
    """Takes IDs, at most ``capacity`` at a time until they leave the stages; the others wait in the order they came.

    Attributes:
        capacity: How many IDs may be let in at once.
        held: How many IDs were let in and have not left the stages.
        closed: Whether it takes no more IDs.
        progress_at: When anything last happened to an item, by its run's clock.
    """

    def __init__(
        self,
        capacity: float,
        publish: Callable[[Outcome[Any]], object] = lambda outcome: None,
        *,
        blocks: bool = True,
    ) -> None:
        """Take nothing yet.

        Args:
            capacity: How many there may be.
            publish: Told of outcomes that the store knows, before those who wait for them.
            blocks: Whether a thread waits for room; not in virtual time, which might have to pass on that thread.
        """
        self.capacity = capacity
        self.held = 0
        self.closed = False
        self._publish = publish
        self._blocks = blocks
        self._now = TIMER_THREAD.now  # until there is a run, whose clock may be another one
        self._why: Exception | None = None
        self._lock = threading.Lock()
        self._entries: dict[int | str, Entry] = {}
        self._waiting: OrderedDict[Entry, None] = OrderedDict()
        self._let_in: OrderedDict[Entry, None] = OrderedDict()
        self._admitted_ids: AdmittedIds | None = None
        self.progress_at = self._now()
        self._item_seconds = 0.0  # from being let in to leaving the stages, of recent ones
        self._following = 0  # entries that follow others of the same ID

    @property
    def waiting(self) -> int:
        """IDs that wait to be let in."""
        return len(self._waiting)

    @property
    def unfinished(self) -> int:
        """IDs that were submitted and have not ended."""
        return len(self._entries)

    @property
    def not_taken(self) -> int:
        """Submitted IDs that this process does not work on: they have no item yet, or the run left it unfinished."""
        return sum(entry.item is None or entry.cut_off is not None for entry in list(self._entries.values()))

    def submit(self, item: int | str | Record, *, nowait: bool) -> Submission:
        """Take an ID, or a record; the same one as another that has not ended shares its item.

        Where an event loop is running it returns at once, and awaiting the submission waits for room, too; so it does
        for callbacks and subscribers that are being told of something, and for stages' functions. In any other thread
        it returns when there is room.

        Args:
            item: The ID; or a record, whose value is the first one's, if several share the item.
            nowait: Refuse it if there is no room.

        Raises:
            Overloaded: There is no room, and it is not to wait.
            PipelineClosed: No more are taken.
            ConfigError: It is no ID.
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
        """The IDs that are let in, as there is room downstream; it completes when the queue is closed and empty.

        Args:
            on_threads: Whether they come on rxpipe's threads, and not on those of whoever submits or makes room: these
                are not there to run what is downstream, and Ctrl-C may hit them anywhere.
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
        """Seconds in which nothing has happened to any item."""
        return self._now() - self.progress_at

    # What becomes of items

    def run_started(self, run: RunView) -> None:
        """From now on, time is that of the run."""
        self._now = lambda: run.seconds
        self.progress_at = self._now()

    def call_started(self, item: ItemView, stage: str) -> None:
        """Note that something happens."""
        self.progress_at = self._now()

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        """Note that something happens."""
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
        if entry is not None and entry.item in (None, item):  # and not a child with the same ID
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
        """Tell those who wait for it, unless its run has only left it unfinished."""
        self.progress_at = self._now()
        entry = self._entries.get(item.id)
        if entry is None or outcome.parent is not None:  # nobody submits children, though they may have such IDs
            return
        if outcome.status != "cancelled" or isinstance(outcome.error, ItemCancelled):
            self._end(entry, outcome)
            return
        entry.cut_off = outcome  # set before reading; ``ended_elsewhere`` does the reverse: so one of them sees both
        if entry.ended_elsewhere is not None:
            self._end_as_told(entry, entry.ended_elsewhere)

    def ended_elsewhere(self, outcome: Outcome[Any]) -> None:
        """An ID that was submitted has ended before, or elsewhere."""
        self.progress_at = self._now()
        entry = self._entries.get(outcome.id)
        if entry is None:
            return
        if isinstance(outcome.error, RecordChanged):
            self._end(entry, outcome.error)
            return
        entry.ended_elsewhere = outcome  # in case that it is on its way here, and has been lost to another worker
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
                return  # somebody else has ended it
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
        """Take no more; those that were submitted are still let in."""
        with self._lock:
            self.closed = True
        if self._admitted_ids is not None:
            self._admitted_ids.wake()

    def fail(self, error: Exception | None) -> None:
        """The run is over: end what has not ended, with an error if it has failed."""
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
    """Whether this thread may wait for room: not one that might have to make it."""
    return running_loop() is None and not TELLING.now and HERE.worker is None


def _not_taken(entry: Entry, error: ItemCancelled | None = None) -> Outcome[Any]:
    return Outcome(id=entry.id, status="cancelled", value=entry.value, error=error, stage=None, attempts=0, seconds=0.0)
