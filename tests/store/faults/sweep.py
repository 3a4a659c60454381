"""The same run, hurt at every place in turn: several at once, as each waits for much of its time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from .children import Child
from .places import Place, Places
from .watch import Watch
from .work import ALWAYS, STAGES, Fault, Job, Trouble

ITEMS = tuple(range(6))
DEAD = (5,)
TROUBLES = (
    Trouble(item="2", stage="answering", failing=1),
    Trouble(item="5", stage="grading", failing=ALWAYS),
)
# Calls of a run that nothing befalls: two of them fail, and are followed by another one.
CALLS = Counter([(str(item), stage) for item in ITEMS for stage in STAGES] + [("2", "answering"), ("5", "grading")])
GROUP = 8


class Start(Protocol):
    """Starts a process that works on a run; it is killed after the test if it has not ended."""

    def __call__(self, job: Job, fault: Fault | None = ...) -> Child: ...


FaultAt = Callable[[int, Place], Fault]


@dataclass
class Case:
    """A run that is hurt at one place.

    Attributes:
        number: Which.
        job: The run.
        watch: Follows it.
        child: The process that is hurt.
        next: The one that goes on, if there is one.
    """

    number: int
    job: Job
    watch: Watch
    child: Child
    next: Child | None = None

    @contextmanager
    def telling(self) -> Generator[None]:
        """Let errors say which case it is, and what its processes said."""
        try:
            yield
        except BaseException as error:
            error.add_note(f"at place {self.number}, {self.child.reached()}; the process said:\n{self.child.said()}")
            if self.next is not None:
                error.add_note(f"and the next one:\n{self.next.said()}")
            raise

    def end(self) -> None:
        """Leave no process."""
        self.child.end()
        if self.next is not None:
            self.next.end()


def sweep(
    places: Places,
    start: Start,
    fault: FaultAt,
    hurt: Callable[[Case], bool],
    *,
    then: Callable[[Case], None] | None = None,
    **options: Any,
) -> int:
    """Hurt a run at each place from the first on, let another process go on, and check; to the last place there is.

    Args:
        places: Where the runs are.
        start: Starts their processes.
        fault: What the process does to itself at the n-th place there.
        hurt: Waits for the process, sees that it is as it should be, and tells whether another one is to go on.
        then: Sees that it is as it should be in the end.
        options: Of the ``Job``.

    Returns:
        How many places there were.
    """
    for first in itertools.count(1, GROUP):
        cases = [_case(number, places(), start, fault, options) for number in range(first, first + GROUP)]
        for case in cases:
            with case.telling():
                if hurt(case):
                    case.watch.look()
                    case.next = start(case.job)
        for case in cases:
            with case.telling():
                if case.next is not None:
                    case.next.finish()
                case.watch.check(ITEMS, dead=DEAD)
                if then is not None:
                    then(case)
        missed = [case.number for case in cases if case.child.reached() is None]
        for case in cases:
            case.end()
        if missed:
            return missed[0] - 1
    raise AssertionError


def _case(number: int, place: Place, start: Start, fault: FaultAt, options: dict[str, Any]) -> Case:
    job = Job(url=place.url, directory=place.directory, items=ITEMS, troubles=TROUBLES, **options)
    return Case(number, job, Watch(place), start(job, fault(number, place)))
