"""``SendBack``: items that go through from an earlier stage again."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from pipeline_helpers import LIMIT, SCHEDULERS, Seen, lasting, noting, run_virtually, same, step

from rxpipe import Batch, Drop, Pipeline, Retry, SendBack, StopRun, feedback
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.run.strategies import Strategy


class Judge:
    """Sends each item back so many times."""

    def __init__(self, times: int, *, to: str = "a", raises: bool = True, **options: Any) -> None:
        self.rounds: dict[Any, Any] = {}
        self.times, self.to, self.raises, self.options = times, to, raises, options

    def __call__(self, value: Any) -> Any:
        item_id = value if isinstance(value, int) else value[0]
        rounds = self.rounds.setdefault(item_id, itertools.count(1))
        if (number := next(rounds)) > self.times:
            return value
        decision = SendBack(self.to, f"round {number}", **self.options)
        if self.raises:
            raise decision
        return decision


def tell(value: int) -> tuple[int, Any]:
    return value, feedback()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("strategy", ["per_stage", "per_item"])
@pytest.mark.parametrize("raises", [True, False])
def test_the_earlier_stage_gets_what_it_got_before(strategy: Strategy, scheduler: Scheduler, raises: bool) -> None:
    """With the feedback of the latest round."""
    stages = step("a", tell), step("b", Judge(2, raises=raises))
    with Pipeline(*stages, strategy=strategy, scheduler=scheduler).open() as running:
        outcome = running.submit(7).result(LIMIT)
    assert (outcome.status, outcome.value, outcome.attempts) == ("written", (7, "round 2"), 6)
    report = running.report()
    assert [(one.done, one.failed, one.sent_back) for one in report.stages] == [(3, 0, 0), (1, 0, 2)]


def test_feedback_is_for_one_stage() -> None:
    """Others have none, nor is there any outside of a call."""
    told: list[Any] = []

    def note(value: Any) -> Any:
        told.append(feedback())
        return value

    middle = step("m", note)
    run_virtually(Pipeline(step("a", tell), middle, step("b", Judge(1))), [7])
    assert told == [None, None]
    assert feedback() is None


@pytest.mark.parametrize(("or_drop", "status"), [(False, "failed"), (True, "dropped")])
def test_an_item_goes_back_so_often(or_drop: bool, status: str) -> None:
    """Then it fails, or is dropped."""
    seen, calls = Seen(), list[int]()
    first = step("a", noting(calls))
    judge = step("b", Judge(9, or_drop=or_drop), max_rounds=2, retry=Retry(max_attempts=5))
    report = run_virtually(Pipeline(first, judge), [7], seen)
    (outcome,) = seen.outcomes
    assert (outcome.status, outcome.stage, calls) == (status, "b", [7, 7, 7])
    assert str(outcome.error) == "sent back to a too often (max_rounds is 2): round 3"
    assert report.stages[1].retried == 0


def test_a_stage_may_send_back_to_itself() -> None:
    """With the value that it got."""
    seen = Seen()
    run_virtually(Pipeline(step("a", same), step("b", Judge(1, to="b"))), [7], seen)
    assert (seen.outcomes[0].value, seen.outcomes[0].attempts) == (7, 3)


@pytest.mark.parametrize(
    ("to", "told"), [("c", "'c': it comes later; allowed: a, b"), ("no", "'no': there is no such stage; allowed: a, b")]
)
@pytest.mark.parametrize("raises", [True, False])
def test_there_is_no_way_forward(to: str, told: str, raises: bool) -> None:
    """The run stops, as all other items would go wrong, too; no more calls of the stage are made."""
    calls: list[int] = []
    judge = Judge(1, to=to, raises=raises)
    stages = step("a", same, concurrency=1), step("b", lambda value: judge(noting(calls)(value))), step("c", same)
    with pytest.raises(StopRun, match=f"stage b cannot send items back to {told}") as raised:
        run_virtually(Pipeline(*stages, concurrency=1), range(100))
    assert isinstance(raised.value.__cause__, SendBack)
    assert len(calls) == 1


def test_a_batch_that_sends_forward_stops_the_run() -> None:
    """As a single call does."""
    batch = step("a", lambda values: [SendBack("b")] * len(values), batch=Batch(max_items=2, max_seconds=0))
    with pytest.raises(StopRun, match="allowed: a"):
        run_virtually(Pipeline(batch, step("b", same)), range(9))


def test_with_staged_there_is_no_way_back() -> None:
    """The earlier stages are over."""
    with pytest.raises(StopRun, match="the earlier stages are over"):
        run_virtually(Pipeline(step("a", same), step("b", Judge(1)), strategy="staged"), [7])


def test_a_child_goes_back_to_where_it_began_at_most() -> None:
    """It was not there before."""
    seen = Seen()
    stages = step("a", lambda value: [1, 2], expand=True), step("b", tell), step("c", Judge(1, to="b"))
    run_virtually(Pipeline(*stages), [7], seen)
    assert {one.id: one.value for one in seen.outcomes} == {"7/0": (1, "round 1"), "7/1": (2, "round 1"), 7: 7}
    seen = Seen()
    run_virtually(Pipeline(*stages[:2], step("c", Judge(1, to="a"))), [7], seen)
    assert "it was made behind stage 'a'" in str(seen.outcomes[0].error)


def test_an_item_with_children_on_their_way_cannot_go_back() -> None:
    """It would have some twice."""

    def some(value: int) -> Any:
        yield 1
        raise SendBack("a")

    seen = Seen()
    run_virtually(Pipeline(step("a", same), step("b", some, expand=True)), [7], seen)
    assert seen.statuses == {7: "failed", "7/0": "written"}
    assert "some of its children are on their way" in str(seen.outcomes[1].error or seen.outcomes[0].error)


def test_one_that_gave_none_is_expanded_anew() -> None:
    """By whichever stage is next, which may not be the same one."""
    rounds = itertools.count()

    def second(value: int) -> Any:
        if next(rounds) == 0:
            raise SendBack("a")
        yield 3

    stages = (
        step("a", lambda value: [1, 2], expand=True),
        step("b", lambda children: sum(children.values), collect=True),
        step("c", second, expand=True),
    )
    seen = Seen()
    run_virtually(Pipeline(*stages), [7], seen)
    assert seen.statuses[7] == "expanded"
    assert {"7/0", "7/1", "7/1.0", "7/1.1"} <= set(seen.ids)


def test_a_batch_gets_a_list_of_feedback() -> None:
    """One for each of its items."""
    told: list[Any] = []

    def together(values: list[int]) -> list[int]:
        told.append(feedback())
        return values

    first = step("a", together, batch=Batch(max_items=2, max_seconds=1))
    run_virtually(Pipeline(first, step("b", Judge(1))), [1, 2])
    assert told == [[None, None], ["round 1", "round 1"]]


def test_one_slot_and_no_queue_are_enough() -> None:
    """Nobody waits for room in a stage that waits for room."""
    options: Any = {"concurrency": 1, "queue_size": 0}
    stages = step("a", lasting(1), **options), step("b", lasting(1), **options), step("c", Judge(3), **options)
    report = run_virtually(Pipeline(*stages), range(10))
    assert (report.written, report.stages[2].sent_back) == (10, 30)


def test_nobody_is_warned_of_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    """Many items that come back at once are beyond the bound, and no source ignores it."""
    first = step("a", lasting(1), concurrency=1, queue_size=0)
    run_virtually(
        Pipeline(first, step("b", lasting(9), concurrency=30), step("c", Judge(1), concurrency=30)), range(30)
    )
    assert "backpressure" not in capsys.readouterr().out


def test_a_drop_is_final() -> None:
    """Also after a round."""
    seen = Seen()
    run_virtually(Pipeline(step("a", tell), step("b", lambda pair: Drop() if pair[1] else SendBack("a", 1))), [7], seen)
    assert [one.status for one in seen.outcomes] == ["dropped"]
