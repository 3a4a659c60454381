"""Where IDs are submitted: whatever is submitted, cancelled and ended in whatever order, the counts are right."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pipeline_helpers import LIMIT, SCHEDULERS, ListSink

from rxpipe import Pipeline, Stage
from rxpipe.errors import ItemCancelled, Overloaded
from rxpipe.pipeline.open.admission_queue import AdmissionQueue
from rxpipe.pipeline.open.submission import Submission
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.item import Item

CAPACITY = 3


class Desks(RuleBasedStateMachine):
    """A queue, and a pipeline of which each step is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = AdmissionQueue(CAPACITY)
        self.submissions: list[Submission] = []
        self.cancelled: set[Any] = set()  # IDs whose items are on their way, and nobody wants any more
        self.following: set[Submission] = set()  # those that came after that
        self.inside: list[Item] = []
        self.leaving: list[Item] = []
        self.queue.source().subscribe(self._take)

    def _take(self, item_id: Any) -> None:
        item = Item(item_id, 0.0)
        self.inside.append(item)
        self.queue.taken(item)

    def _note(self, submission: Submission) -> None:
        self.submissions.append(submission)
        if submission.id in self.cancelled:
            self.following.add(submission)

    def _unfinished(self, item_id: Any, *, following: bool) -> list[Submission]:
        same = [one for one in self.submissions if one.id == item_id and not one.done()]
        return [one for one in same if (one in self.following) is following]

    @rule(item_id=st.integers(0, 8))
    def submit_nowait(self, item_id: int) -> None:
        """Refused exactly when it is full and the ID is new."""
        is_new = not self._unfinished(item_id, following=item_id in self.cancelled)
        is_full = self.queue.held == CAPACITY
        try:
            self._note(self.queue.submit(item_id, nowait=True))
        except Overloaded:
            assert is_full
            assert is_new
        else:
            assert not (is_full and is_new)

    @rule(item_id=st.integers(0, 8))
    def submit(self, item_id: int) -> None:
        """As on an event loop: it does not block, and waits in line if it is full."""

        async def on_loop() -> Submission:
            return self.queue.submit(item_id, nowait=False)

        self._note(asyncio.run(on_loop()))

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """An item leaves the stages."""
        item = self.inside.pop(data.draw(st.integers(0, len(self.inside) - 1)))
        self.leaving.append(item)
        self.queue.left(item)

    @precondition(lambda self: self.leaving)
    @rule(data=st.data(), status=st.sampled_from(["written", "failed", "cancelled"]))
    def end(self, data: st.DataObject, status: Any) -> None:
        """It ends, for all that share it; who came after it was cancelled has a new one, if it was."""
        item = self.leaving.pop(data.draw(st.integers(0, len(self.leaving) - 1)))
        error = ItemCancelled() if status == "cancelled" else None
        outcome = Outcome(id=item.id, status=status, value=0, error=error, stage=None, attempts=1, seconds=0.0)
        waiting = self._unfinished(item.id, following=False)
        later = self._unfinished(item.id, following=True)
        self.cancelled.discard(item.id)
        self.following.difference_update(later)
        self.queue.ended(item, outcome)
        assert all(one.result(0) is outcome for one in waiting)
        assert all(not one.done() if status == "cancelled" else one.result(0) is outcome for one in later)

    @precondition(lambda self: self.submissions)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """One gives up; its item only if nobody else wants it."""
        submission = data.draw(st.sampled_from(self.submissions))
        was_done = submission.done()
        is_following = submission in self.following
        is_last = self._unfinished(submission.id, following=is_following) == [submission]
        assert submission.cancel() is not was_done
        assert submission.done() or (is_last and not is_following)
        if not submission.done():
            self.cancelled.add(submission.id)
        assert submission.cancel() is (not submission.done())

    @invariant()
    def counts_are_right(self) -> None:
        """Never more than there is room for, and as many as are there."""
        assert self.queue.held == len(self.inside) <= CAPACITY
        assert not self.queue.waiting or self.queue.held == CAPACITY
        assert self.queue.unfinished == len({one.id for one in self.submissions if not one.done()})

    def teardown(self) -> None:
        """In the end all have ended, and no more is taken."""
        self.queue.fail(None)
        assert all(one.done() for one in self.submissions)
        assert (self.queue.held, self.queue.unfinished, self.queue.waiting) == (0, 0, 0)


TestDesks = pytest.mark.slow(Desks.TestCase)
TestDesks.settings = settings(max_examples=settings().max_examples, deadline=None)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_many_threads_submit_and_cancel(scheduler: Scheduler) -> None:
    """Each submission ends; each item ends once; what is not cancelled is written."""
    sink = ListSink()
    calls: Counter[int] = Counter()
    outcomes: list[tuple[Submission, bool]] = []

    def call(value: int) -> int:
        calls[value] += 1
        return value

    def submit(seed: int) -> None:
        chance = random.Random(seed)
        for number in range(200):
            try:
                submission = running.submit(chance.randrange(50)) if number % 3 else running.submit_nowait(number)
            except Overloaded:
                continue
            asked = chance.random() < 0.3 and submission.cancel()
            outcomes.append((submission, asked))

    pipeline = Pipeline(
        *(Stage(name, call, concurrency=4, queue_size=2) for name in "ab"), sink=sink, scheduler=scheduler
    )
    with pipeline.open(capacity=5) as running:
        threads = [threading.Thread(target=submit, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
    report = running.report()
    assert report.taken == report.written + report.failed + report.cancelled
    assert report.failed == 0
    assert report.written == sum(row.status == "written" for row in sink.rows)
    for submission, asked in outcomes:
        status = submission.result(0).status
        assert status == "written" or (status == "cancelled" and (asked or _was_shared(submission, outcomes)))
    assert (running.health().held, running.health().unfinished) == (0, 0)


def _was_shared(submission: Submission, outcomes: list[tuple[Submission, bool]]) -> bool:
    """Whether another one of the same ID, which it may have joined, was cancelled."""
    return any(asked and other.id == submission.id for other, asked in outcomes)
