"""``collect``: one call with all children of an item."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, Block, Seen, finish, lasting, run_virtually, same, step, virtual

from rxpipe import Children, Drop, Pipeline, Retry, SendBack, StopRun
from rxpipe.pipeline.claim import Claim
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.flow import Flow
from rxpipe.pipeline.run.item import Item
from rxpipe.pipeline.run.strategies import Strategy


def three(value: int) -> list[int]:
    return [10 * value, 10 * value + 1, 10 * value + 2]


def total(children: Children[int]) -> int:
    return sum(children.values)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("strategy", ["per_stage", "per_item"])
def test_the_parent_goes_on_with_what_became_of_all(strategy: Strategy, scheduler: Scheduler) -> None:
    """Each child ends as ``collected``, the parent as any other item."""
    stages = step("a", three, expand=True), step("b", lambda value: value + 1), step("c", total, collect=True)
    report = Pipeline(*stages, strategy=strategy, scheduler=scheduler, concurrency=2).run(range(5))
    assert (report.taken, report.spawned, report.written, report.collected) == (5, 15, 5, 15)


def test_children_tell_how_they_ended() -> None:
    """In the order in which they were made, whichever came first; failed and dropped ones are there, too."""
    given: list[Children[Any]] = []

    def middle(value: int) -> Any:
        if value == 11:
            raise ValueError("eleven")
        return Drop("twelve") if value == 12 else lasting(5)(value)

    def keep(children: Children[Any]) -> str:
        given.append(children)
        return "kept"

    seen = Seen()
    stages = step("a", lambda value: [10, 11, 12, 13], expand=True), step("b", middle)
    run_virtually(Pipeline(*stages, step("c", keep, collect=True), step("d", same)), [1], seen)
    (children,) = given
    assert (children.id, children.parent, children.values, len(children)) == (1, 1, [10, 13], 4)
    assert [one.status for one in children] == ["collected", "failed", "dropped", "collected"]
    assert [one.id for one in children[1:3]] == ["1/1", "1/2"]
    assert repr(children) == "<Children of 1: 4, of them 2 collected>"
    assert seen.statuses == {1: "written", "1/0": "collected", "1/1": "failed", "1/2": "dropped", "1/3": "collected"}
    assert [one.value for one in seen.outcomes if one.id == 1] == ["kept"]


def test_a_parent_without_children_is_called_with_none() -> None:
    """At once."""
    seen = Seen()
    stages = step("a", lambda value: [], expand=True), step("b", same), step("c", len, collect=True)
    run_virtually(Pipeline(*stages), [1], seen)
    assert [(one.id, one.status, one.value) for one in seen.outcomes] == [(1, "written", 0)]


def test_they_are_nested_as_brackets_are() -> None:
    """The inner ones first."""
    seen = Seen()
    stages = (
        step("a", lambda value: [1, 2], expand=True),
        step("b", lambda value: [value, 10 * value], expand=True),
        step("c", total, collect=True),
        step("d", total, collect=True),
    )
    report = run_virtually(Pipeline(*stages), [0], seen)
    assert [(one.id, one.value) for one in seen.outcomes if one.status == "written"] == [(0, 33)]
    assert (report.spawned, report.collected) == (6, 6)


def is_one(value: int) -> bool:
    return value == 1


@pytest.mark.parametrize("is_collected", [True, False])
def test_an_item_that_passes_an_expanding_stage_is_collected_where_it_belongs(is_collected: bool) -> None:
    """Of two that expand, the outer one may be passed."""
    outer = step("a", lambda value: [value, value], expand=True, when=is_one)
    stages = [step("b", lambda value: [value, 10 * value], expand=True), step("c", total, collect=True)]
    last = [step("d", total, collect=True)] if is_collected else []
    seen = Seen()
    run_virtually(Pipeline(outer, *stages, *last), [1, 2], seen)
    written = {one.id: one.value for one in seen.outcomes if one.status == "written"}
    assert written == ({1: 22, 2: 22} if is_collected else {"1/0": 11, "1/1": 11, 2: 22})


def test_parents_that_fail_half_way_are_not_collected() -> None:
    """Their children end, and nobody is called with them."""

    def broken(value: int) -> Any:
        yield 1
        raise OSError

    seen, calls = Seen(), list[Any]()
    run_virtually(Pipeline(step("a", broken, expand=True), step("b", calls.append, collect=True)), [1], seen)
    assert (seen.statuses, calls) == ({1: "failed", "1/0": "collected"}, [])


def test_one_slot_and_no_queue_are_enough() -> None:
    """Children that wait for their siblings hold no slot, and parents none while they wait."""
    options: Any = {"concurrency": 1, "queue_size": 0}
    stages = (
        step("a", three, expand=True, **options),
        step("b", lasting(1), **options),
        step("c", total, collect=True, **options),
        step("d", lasting(1), **options),
    )
    report = run_virtually(Pipeline(*stages), range(10))
    assert (report.written, report.collected) == (10, 30)
    assert report.seconds < 45


def test_calls_are_tried_again() -> None:
    """With the same children."""
    given: list[Children[int]] = []

    def flaky(children: Children[int]) -> int:
        given.append(children)
        if len(given) < 3:
            raise OSError
        return total(children)

    stage = step("c", flaky, collect=True, retry=Retry(max_attempts=3, initial=1, jitter=0))
    report = run_virtually(Pipeline(step("a", three, expand=True), stage), [1])
    assert (report.written, report.stages[1].retried) == (1, 2)
    assert given[0] is given[2]


def test_a_collected_item_may_go_back_to_where_it_was_expanded() -> None:
    """It has new children then, with IDs of their own."""
    rounds = itertools.count()

    def judge(children: Children[int]) -> int:
        if next(rounds) == 0:
            raise SendBack("a")
        return total(children)

    seen = Seen()
    run_virtually(Pipeline(step("a", three, expand=True), step("c", judge, collect=True)), [1], seen)
    assert set(seen.ids) == {1, "1/0", "1/1", "1/2", "1/1.0", "1/1.1", "1/1.2"}
    assert seen.statuses[1] == "written"


def test_a_collected_item_may_be_expanded_again() -> None:
    """The numbers of its children go on."""
    seen = Seen()
    stages = step("a", three, expand=True), step("c", total, collect=True), step("d", three, expand=True)
    run_virtually(Pipeline(*stages), [1], seen)
    assert set(seen.ids) == {1, "1/0", "1/1", "1/2", "1/3", "1/4", "1/5"}


def test_it_cannot_go_back_to_where_only_its_children_were() -> None:
    """The item itself was never there."""

    def judge(children: Children[int]) -> int:
        raise SendBack("b")

    seen = Seen()
    stages = step("a", three, expand=True), step("b", same), step("c", judge, collect=True)
    run_virtually(Pipeline(*stages), [1], seen)
    failed = next(one for one in seen.outcomes if one.id == 1)
    assert "its children went through stage 'b'" in str(failed.error)


def test_a_stop_cuts_off_the_parent_of_whom_it_hits() -> None:
    """Nobody is called with the others."""

    def stop(value: int) -> int:
        if value == 11:
            raise StopRun("enough")
        return value

    calls: list[Any] = []
    stages = step("a", three, expand=True), step("b", stop, concurrency=1), step("c", calls.append, collect=True)
    run, scheduler = virtual(Pipeline(*stages), [1])
    scheduler.start()
    assert isinstance(run.finished.exception(), StopRun)
    assert calls == []
    assert run.taken + run.spawned == run.collected + run.cancelled == 4


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_parent_that_is_cancelled_is_not_collected(scheduler: Scheduler) -> None:
    """Its children are cancelled."""
    block, calls = Block({11}), list[Any]()
    stages = step("a", three, expand=True), step("b", block), step("c", calls.append, collect=True)
    with Pipeline(*stages, scheduler=scheduler).open() as running:
        submission = running.submit(1)
        block.wait_for(1)
        assert submission.cancel()
        block.may_return.set()
        assert submission.result(LIMIT).status == "cancelled"
    report = running.report()
    assert calls == []
    assert report.taken + report.spawned == report.cancelled + report.collected


def test_an_abort_accounts_for_all() -> None:
    """Children that were collected, and their parents, which wait."""
    block = Block({11, 21})
    stages = step("a", three, expand=True), step("b", block), step("c", total, collect=True)
    run = Pipeline(*stages).start([1, 2])
    block.wait_for(2)
    run.abort()
    block.may_return.set()
    report = finish(run)
    assert report.taken + report.spawned == report.cancelled + report.collected
    assert report.written == 0


def test_what_does_not_fit_is_refused() -> None:
    """Where the pipeline is made."""
    with pytest.raises(ValueError, match="no stage with expand before it"):
        Pipeline(step("c", total, collect=True))
    with pytest.raises(ValueError, match="strategy staged has no expand"):
        Pipeline(step("a", three, expand=True), strategy="staged")
    for option in ("when", "key"):
        options: Any = {option: same}
        with pytest.raises(ValueError, match="neither when nor key"):
            step("c", total, collect=True, **options)


class _Enters:
    def enter(self, child: Item) -> bool:
        return True


def test_a_parent_that_was_sent_back_is_not_called_for_its_children_of_before() -> None:
    """Their commits may come when it is on its way again, and has children with other IDs."""
    called: list[Item] = []
    flow = Flow(["make", "collect"])
    flow.attach(1, called.append)
    flow.attach_run(_Enters(), lambda item: None)
    parent, child = (Item(Claim(id=key, key=key, owner="me", fence=1), 0.0) for key in ("1", "1/0"))
    flow.begin_children(parent, 1)
    flow.spawn(parent, child)
    flow.expanded(parent)
    flow.arrived(child, 0.0)
    assert called == [parent]
    parent.rounds = 1
    flow.child_over(child, child.outcome(0.0))
    assert called == [parent]
