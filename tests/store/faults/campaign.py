"""Many kills at random, and what they cost: ``python -m store.faults.campaign`` in the folder ``tests``.

It prints a line for each number of workers on PostgreSQL and on SQLite. It is no test: it takes minutes, and how old a
result may be when it is lost depends on the machine. What must hold in any case is checked as in the tests.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.flows.model import expected
from servers import POSTGRES, own_database

from store.flows.killed import flow_job
from store.flows.shapes import SHAPES, flow_of

from .children import Child
from .ledger import Call, Ledger
from .places import Place, postgres_places, sqlite_places
from .watch import Watch
from .work import GAVE_UP, Job

CONCURRENCY = 8
RATE = 75.0  # items a second, of all workers
LATE = 0.3  # seconds after which a result must not be lost any more
PATIENCE = 600.0  # seconds for one line


@dataclass
class Kills:
    """When processes were killed.

    Attributes:
        at: By their numbers, in nanoseconds.
        moments: How often, several at once counting once.
    """

    at: dict[int, int] = field(default_factory=dict[int, int])
    moments: int = 0


class Team:
    """Workers of one run; whoever is killed has a successor."""

    def __init__(self, job: Job, count: int) -> None:
        """Start them."""
        self.job = job
        self.kills = Kills()
        self._workers = [Child(job) for _ in range(count)]

    @property
    def is_done(self) -> bool:
        """Whether one of them has ended the run."""
        return any(worker.ended_well for worker in self._workers)

    def kill(self, victims: list[int]) -> None:
        """Kill some at once, and start others."""
        self.kills.moments += 1
        for number in victims:
            self._workers[number].signal(signal.SIGKILL)
            self.kills.at[self._workers[number].pid] = time.monotonic_ns()
        for number in victims:
            self._replace(number)

    def at_work(self, count: int) -> list[int]:
        """Wait until so many workers have begun, or the run is over; where a lock kept one out, another tries."""
        while True:
            found = [number for number, one in enumerate(self._workers) if one.is_alive and "started" in one.said()]
            if len(found) >= count or self.is_done:
                return found
            for number, worker in enumerate(self._workers):
                if not worker.is_alive and worker.wait() == GAVE_UP:
                    self._replace(number)
            time.sleep(0.02)

    def finish(self) -> None:
        """Let them end the run."""
        for worker in self._workers:
            assert worker.wait(PATIENCE) in (0, GAVE_UP), worker.said()

    def end(self) -> None:
        """Kill whoever is left."""
        for worker in self._workers:
            worker.end()

    def _replace(self, number: int) -> None:
        self._workers[number].end()
        self._workers[number] = Child(self.job)


def lost_ages(ledger: Ledger, kills: Kills) -> list[float]:
    """How old results were, in seconds, when a kill lost them, so that their calls were made again."""
    returned, made = ledger.returns(), defaultdict[tuple[str, str], list[Call]](list)
    for call in ledger.calls():
        made[call.item, call.stage].append(call)
    again = [call for calls in made.values() for call in calls[:-1]]
    assert {call.pid for call in again} <= set(kills.at), "a call was made again though nobody was killed"
    return [(kills.at[call.pid] - returned[call.token]) / 1e9 for call in again if call.token in returned]


def campaign(place: Place, workers: int, kills: int, items: int, chance: random.Random) -> str:
    """Kill workers of a run until it is over, or there were so many kills; check it, and say what it cost."""
    watch = Watch(place)
    job = Job(
        url=place.url,
        directory=place.directory,
        items=tuple(range(items)),
        seconds=CONCURRENCY * (1 if place.url.startswith("sqlite") else workers) / RATE,
        concurrency=CONCURRENCY,
        window=0.05,
        notes_returns=True,
    )
    team = Team(job, workers)
    began = time.monotonic()
    try:
        while team.kills.moments < kills and not team.is_done:
            found = team.at_work(1 if place.url.startswith("sqlite") else workers)
            time.sleep(chance.uniform(0.1, 1))
            team.kill(found if chance.random() < 0.25 else found[:1] and [chance.choice(found)])
            assert time.monotonic() < began + PATIENCE
        team.finish()
    finally:
        team.end()
    dead = {key for key, item in watch.look().items.items() if item.state == "failed"}
    watch.check(range(items), dead=dead, acquitted=True)
    ages = lost_ages(watch.ledger, team.kills)
    calls = watch.ledger.counts()
    return (
        f"{team.kills.moments} kills of {len(team.kills.at)} processes in {time.monotonic() - began:.0f} s; "
        f"{len(dead)} dead letters; {sum(calls.values()) - len(calls)} of {sum(calls.values())} calls made again, "
        f"{len(ages)} of them had returned, the oldest {max(ages, default=0.0):.2f} s before, "
        f"{sum(age > LATE for age in ages)} more than {LATE} s"
    )


def flow_campaign(place: Place, workers: int, kills: int, items: int, chance: random.Random) -> str:
    """The same with items of a random flow, of which it is known before what they come to."""
    shape, seed = chance.choice(sorted(SHAPES)), chance.randrange(2**32)
    flow = flow_of(shape, items, seed=seed)
    rows = sum(count for (_, status, _), count in expected(flow).items() if status == "written")
    until = rows // 2 if rows > 1 and chance.random() < 0.3 else None
    named = f"{shape} {seed} of {items}" + (f" until {until}" if until else "")
    job = flow_job(place, flow, seconds=chance.choice([0, 0.01, 0.05]), until=until)
    team, began = Team(job, workers), time.monotonic()
    try:
        while team.kills.moments < kills and not team.is_done:
            found = team.at_work(workers)
            time.sleep(chance.uniform(0.05, 0.6))
            team.kill(found if chance.random() < 0.25 else found[:1] and [chance.choice(found)])
            job.look()
            assert time.monotonic() < began + PATIENCE
        team.finish()
        states = job.check()
    except BaseException as error:
        error.add_note(f"{named}, in {place}")
        raise
    finally:
        team.end()
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    calls = job.ledger.counts()
    return (
        f"{named}: {team.kills.moments} kills of {len(team.kills.at)} processes in {time.monotonic() - began:.0f} s; "
        f"{told}; {sum(calls.values()) - len(calls)} of {sum(calls.values())} calls were made again, for retries, too"
    )


@contextmanager
def place_on(kind: str, directory: Path) -> Generator[Place]:
    """An empty database of a kind."""
    if kind == "sqlite":
        yield sqlite_places(directory)()
        return
    with own_database(POSTGRES) as url:
        yield postgres_places(url, directory)()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=20260)
    parser.add_argument("--on", nargs="*", default=["postgres:1", "postgres:3", "postgres:6", "sqlite:1", "sqlite:2"])
    parser.add_argument("--flows", action="store_true", help="random flows of all shapes, instead of three stages")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on with other seeds for so long")
    given = parser.parse_args()
    run = flow_campaign if given.flows else campaign
    deadline = time.monotonic() + 60 * given.minutes
    for seed in itertools.count(given.seed):
        for one in given.on:
            kind, _, workers = one.partition(":")
            with tempfile.TemporaryDirectory() as directory, place_on(kind, Path(directory)) as place:
                told = run(place, int(workers), given.kills, given.items, random.Random(seed))
                print(f"{kind}, {workers} at once: {told}", flush=True)
        if time.monotonic() >= deadline:
            return


if __name__ == "__main__":
    main()
