"""Looking for results before a stage, with a journal that knows some: in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pipeline_helpers import Seen, run_virtually, virtual
from reactivex import operators as rx_ops

from rxpipe import Pipeline, Stage, Usage
from rxpipe.operators import RateLimiter
from rxpipe.pipeline.claim import CachedResult, CacheLookup, Claim
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.ports import RunPorts


class Journal:
    """Knows the results of some values, and notes what it is told."""

    def __init__(self, **claims: dict[str, Any]) -> None:
        self.before_looking: Callable[[], object] = lambda: None
        self.known: dict[Any, Any] = {}
        self.looked_up: list[Any] = []
        self.kept: list[tuple[Any, Any, str | None]] = []
        self.reused_for: list[Any] = []
        self._claims = claims

    def check_beside(self, sink: Any) -> None:
        """Any will do."""

    def open_run(self, *_: Any, **__: Any) -> RunPorts:
        return RunPorts(take=lambda ids: ids.pipe(rx_ops.map(self._claim)), journal=self)

    def _claim(self, item_id: Any) -> Claim:
        more = self._claims.get(f"item_{item_id}", {})
        claim = Claim(id=item_id, key=str(item_id), owner="me", fence=1, value=item_id)
        return replace(claim, **more)

    def may_begin(self, wake: Any) -> bool:
        return True

    def called(self, claim: Any, stage: Any, call: Any, notes: Any = ()) -> None:
        """Nobody asks."""

    def look_up(self, stage: int, values: Sequence[Any]) -> list[CacheLookup]:
        self.before_looking()
        self.looked_up += values
        usage = Usage(cost=1.0)
        return [
            CacheLookup(f"key {value}", CachedResult(self.known[value], usage, None) if value in self.known else None)
            for value in values
        ]

    def checkpoint(
        self, claim: Claim, stage: int, attempts: int, value: Any, lookup: CacheLookup | None = None
    ) -> None:
        self.kept.append((claim.id, value, None if lookup is None else lookup.key))

    def reused(self, claim: Claim, stage: int, attempts: int, hit: CachedResult) -> None:
        self.reused_for.append(claim.id)

    def used(self, *_: Any, **__: Any) -> None: ...

    def call_failed(self, *_: Any, **__: Any) -> None: ...

    def spawn(self, *_: Any, **__: Any) -> Any: ...

    def sent_back(self, *_: Any, **__: Any) -> None: ...


class Taken(Listener):
    """Remembers the item that was taken last."""

    item: Any = None

    def taken(self, item: Any) -> None:
        self.item = item


def square(value: int) -> int:
    return value * value


@pytest.mark.parametrize("strategy", ["per_stage", "per_item"])
def test_hits_and_calls(strategy: Any) -> None:
    """Those that are known need no call; the results of the others are kept by their keys."""
    journal, seen = Journal(), Seen()
    journal.known = {2: "two", 4: "four"}
    stage = Stage("squaring", square, cache=True, concurrency=2)
    run, scheduler = virtual(Pipeline(stage, store=journal, strategy=strategy), range(5), seen)
    scheduler.start()
    report = run.finished.result()
    assert {outcome.id: outcome.value for outcome in seen.outcomes} == {0: 0, 1: 1, 2: "two", 3: 9, 4: "four"}
    assert (report.stages[0].done, report.stages[0].cached, report.saved) == (3, 2, Usage(cost=2.0))
    assert sorted(journal.kept) == [(0, 0, "key 0"), (1, 1, "key 1"), (3, 9, "key 3")]
    assert sorted(journal.reused_for) == [2, 4]
    assert [outcome.attempts for outcome in seen.outcomes if outcome.id in (2, 4)] == [0, 0]


def test_a_place_of_the_rate_limit_is_taken_for_calls_only() -> None:
    """Three calls take two seconds, however many hits there are between them."""
    journal = Journal()
    journal.known = dict.fromkeys(range(3, 40), "known")
    stage = Stage("squaring", square, cache=True, rate_limit=RateLimiter(1, 1.0), queue_size=50)
    run, scheduler = virtual(Pipeline(stage, store=journal), range(40))
    scheduler.start()
    report = run.finished.result()
    assert (report.written, report.stages[0].cached) == (40, 37)
    assert report.seconds == pytest.approx(2.0)


def test_items_before_a_stage_are_counted() -> None:
    """Each item on its way is in a stage, or arrives there: it was looked up, and waits for room."""
    stages = Stage("a", square, cache=True, rate_limit=RateLimiter(1)), Stage("b", str, cache=True)
    run, scheduler = virtual(Pipeline(*stages, store=Journal()), range(40))
    scheduler.advance_to(10.5)
    snapshot = run.snapshot()
    arriving = [stage.arriving for stage in snapshot.stages]
    inside = sum(stage.running + stage.waiting + stage.blocked_now for stage in snapshot.stages)
    assert arriving[0] > 10
    assert sum(arriving) + inside == snapshot.in_flight == 40 - snapshot.written
    scheduler.start()
    assert [stage.arriving for stage in run.snapshot().stages] == [0, 0]


def test_a_stage_that_does_not_ask() -> None:
    """Nothing is looked up, and nothing kept by a key."""
    journal = Journal()
    journal.known = {1: "one"}
    run, scheduler = virtual(Pipeline(Stage("squaring", square), store=journal), [1])
    scheduler.start()
    run.finished.result()
    assert (journal.looked_up, journal.kept) == ([], [(1, 1, None)])


@pytest.mark.parametrize(
    "claim",
    [
        {"stage": 1, "value": 7},
        {"rounds": 1, "feedback": "better"},
        {"rounds": 1},
        {"error": ValueError()},
        {"lost": True},
    ],
    ids=["done before", "sent back", "sent back without feedback", "no item", "lost"],
)
def test_what_is_not_looked_up(claim: dict[str, Any]) -> None:
    """Items that are not called with, and those whose function may be told more than their value."""
    journal = Journal(item_1=claim)
    journal.known = {1: "one", 7: "seven"}
    stages = Stage("squaring", square, cache=True), Stage("naming", str)
    run, scheduler = virtual(Pipeline(*stages, store=journal), [1])
    scheduler.start()
    run.finished.result()
    assert (journal.looked_up, journal.reused_for) == ([], [])
    assert all(key is None for _, _, key in journal.kept)


def test_a_cancelled_item_gets_no_result() -> None:
    """Though there is one."""
    journal, taken = Journal(), Taken()
    journal.known = {1: "one"}
    journal.before_looking = lambda: taken.item.cancel()
    pipeline = Pipeline(Stage("squaring", square, cache=True), store=journal, listeners=[taken])
    report = run_virtually(pipeline, [1])
    assert (report.cancelled, journal.looked_up, journal.reused_for) == (1, [1], [])


@pytest.mark.parametrize("error", [ValueError(), SystemExit()], ids=repr)
def test_a_when_that_raises_twice(error: BaseException) -> None:
    """Fails its item, once."""
    asked: list[int] = []

    def when(value: int) -> bool:
        asked.append(value)
        raise error

    seen = Seen()
    stage = Stage("squaring", square, cache=True, when=when)
    run, scheduler = virtual(Pipeline(stage, store=Journal()), [1], seen)
    scheduler.start()
    assert run.finished.result().failed == 1
    assert asked == [1, 1]


def test_a_cache_needs_a_store() -> None:
    """That is told when the pipeline is made, with the stage."""
    stages = Stage("a", square), Stage("b", square, cache=True)
    with pytest.raises(ValueError, match="stage b: cache=True needs a store"):
        Pipeline(*stages)
    with pytest.raises(ValueError, match="it cannot have a store"):
        Pipeline(*stages, store=Journal(), strategy="staged")


@pytest.mark.parametrize("option", ["expand", "collect"])
def test_a_cache_is_for_one_result_of_one_value(option: str) -> None:
    """Not for children."""
    options: dict[str, Any] = {option: True}
    with pytest.raises(ValueError, match="stage a: a stage with cache has neither expand nor collect"):
        Stage("a", square, cache=True, **options)


def test_a_cache_is_on_or_off() -> None:
    """Nothing else."""
    wrong: Any = "yes"
    with pytest.raises(TypeError, match="stage a: cache must not be 'yes'"):
        Stage("a", square, cache=wrong)
