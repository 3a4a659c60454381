"""The same run, hurt at every place in turn: several at once, as each waits for much of its time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from .children import Child, Part, Servant
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
GROUP = 4  # cases at once
PARTS = 4  # of a sweep, so that processes can share one
SHARED = [part if part == 0 else pytest.param(part, marks=pytest.mark.thorough) for part in range(PARTS)]
"""The parts of a sweep: all with ``--all``, else the first one: every fourth group of places."""


class Start(Protocol):
    """Starts a process that works on a run; it is killed after the test if it has not ended."""

    def __call__(self, job: Job, fault: Fault | None = ...) -> Child: ...


class StartPart(Protocol):
    """Starts a process, or lets one that is there work on a run."""

    def __call__(self, job: Job, fault: Fault | None = ...) -> Part: ...


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
    child: Part
    next: Part | None = None

    @property
    def has_started(self) -> bool:
        """Whether the process that is hurt has begun to take items."""
        return "started" in self.child.said().splitlines()

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


def sweep(
    places: Places,
    start: StartPart,
    fault: FaultAt,
    hurt: Callable[[Case], bool],
    *,
    part: int,
    opening: bool = False,
    then: Callable[[Case], None] | None = None,
    **options: Any,
) -> int:
    """Hurt a run at each place of a part, let another process go on, and check; to the last place there is.

    All parts together are every place: a part is each fourth group of them.

    Args:
        places: Where the runs are.
        start: Starts their processes.
        fault: What the process does to itself at the n-th place there.
        hurt: Waits for the process, sees that it is as it should be, and tells whether another one is to go on.
        part: Which part of the places.
        opening: Whether only those are wanted that come before the run has started.
        then: Sees that it is as it should be in the end.
        options: Of the ``Job``.

    Returns:
        How many places there were; what the part that has the last of them returns is exact, others may return more.
    """
    with closing(Servant()) as successor:
        for first in itertools.count(1 + GROUP * part, GROUP * PARTS):
            cases = [_case(number, places(), start, fault, options) for number in range(first, first + GROUP)]
            for case in cases:
                with case.telling():
                    if hurt(case):
                        case.watch.look()
                        case.next = successor(case.job)
            for case in cases:
                with case.telling():
                    if case.next is not None:
                        case.next.finish()
                    case.watch.check(ITEMS, dead=DEAD)
                    if then is not None:
                        then(case)
            past = [case.number for case in cases if (case.has_started if opening else case.child.reached() is None)]
            for case in cases:
                case.child.end()
            if len(past) == GROUP or (past and not opening):
                return past[0] - 1
    raise AssertionError


def _case(number: int, place: Place, start: StartPart, fault: FaultAt, options: dict[str, Any]) -> Case:
    job = Job(url=place.url, directory=place.directory, name=place.name, items=ITEMS, troubles=TROUBLES, **options)
    return Case(number, job, Watch(place), start(job, fault(number, place)))
