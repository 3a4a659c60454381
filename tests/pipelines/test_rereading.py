"""A source that is read again and again, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import reactivex
from reactivex.testing import TestScheduler
from structlog.testing import capture_logs

from rxpipe import Record
from rxpipe.pipeline.rereading import rereading

END = 200


def given(first: Iterable[Any], *later: Any, every: float = 10.0, **options: Any) -> list[tuple[float, Any]]:
    """What comes at which time; each further reading gives the next of these, or raises it."""
    left: list[Any] = list(later)

    def read() -> list[Any]:
        found: Any = left.pop(0) if left else ()
        if isinstance(found, Exception):
            raise found
        return list(found)

    scheduler = TestScheduler()
    seen: list[tuple[float, Any]] = []
    ids = rereading(first, read, every=every, **options)
    subscription = ids.subscribe(
        lambda one: seen.append((scheduler.clock, one)),
        lambda error: seen.append((scheduler.clock, error)),
        lambda: seen.append((scheduler.clock, "completed")),
        scheduler=scheduler,
    )
    scheduler.advance_to(END)
    subscription.dispose()
    scheduler.advance_to(2 * END)
    return [(round(at), one) for at, one in seen]


def test_what_is_new() -> None:
    """Each ID is given once, as a number or as text; the sequence does not complete."""
    assert [one for _, one in given([1, 2], [1, 2, 3], ["3", "4", 2], [5])] == [1, 2, 3, "4", 5]


def test_when() -> None:
    """From the end of one reading to the beginning of the next."""
    times = [at for at, _ in given([1], [2], [3])]
    assert [later - sooner for sooner, later in pairwise(times)] == [10, 10]


def test_a_failure() -> None:
    """The source is read again after one; the first time it ends the sequence."""
    with capture_logs() as logs:
        assert [one for _, one in given([1], OSError("no such file"), [2])] == [1, 2]
    assert [(log["event"], log["error"]) for log in logs] == [
        ("the source cannot be read now", "OSError: no such file")
    ]
    wrong = ValueError("broken")
    assert [one for _, one in given(reactivex.throw(wrong), [2])] == [wrong]  # type: ignore[arg-type]


def test_records() -> None:
    """A record is given again only where its value may have changed."""
    one, other = Record("a", 1), Record("a", 2)
    assert [record for _, record in given([one], [other])] == [one]
    assert [record for _, record in given([one], [other], may_change=True)] == [one, other]


def test_async() -> None:
    """An async source is read again as one."""

    async def ids(last: int) -> AsyncIterator[int]:
        for one in range(last):
            yield one

    came: SimpleQueue[int] = SimpleQueue()
    subscription = rereading(ids(1), lambda: ids(3), every=0.01).subscribe(came.put)
    try:
        assert [came.get(timeout=30) for _ in range(3)] == [0, 1, 2]
    finally:
        subscription.dispose()
