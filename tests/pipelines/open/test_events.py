"""What an open pipeline publishes while it works."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from pipeline_helpers import SCHEDULERS, Seen, same, until
from structlog.testing import capture_logs

from rxpipe import Children, Drop, Pipeline, Retry, SinkError, Stage
from rxpipe.pipeline.open.events import Event, Hot
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.plan import Scheduler

from .opened import Door, on_loop


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_life_of_an_item(scheduler: Scheduler) -> None:
    """In order, with each call, and what it failed with."""
    events: list[Event] = []
    failures = [ValueError("first")]

    def flaky(value: int) -> int:
        if failures:
            raise failures.pop()
        return value

    retry = Retry(initial=0, max_delay=0)
    with Pipeline(Stage("a", flaky, retry=retry), Stage("b", same), scheduler=scheduler).open() as running:
        running.events.subscribe(events.append)
        outcome = running.submit(7).result()
    assert [(one.kind, one.stage, one.attempts, one.again) for one in events] == [
        ("taken", None, 0, False),
        ("call_started", "a", 1, False),
        ("call_failed", "a", 1, True),
        ("call_started", "a", 2, False),
        ("call_returned", "a", 2, False),
        ("call_started", "b", 3, False),
        ("call_returned", "b", 3, False),
        ("ended", None, 3, False),
    ]
    assert {one.id for one in events} == {7}
    assert str(events[2].error) == "first"
    assert events[-1].outcome is outcome
    assert [one.at for one in events] == sorted(one.at for one in events)


def halves(text: str) -> list[str]:
    """A stage's function that expands items."""
    return [text[:1], text[1:]]


def keep(text: str) -> Any:
    """A stage's function that drops some items."""
    return Drop("a vowel") if text in "aeiou" else text


def joined(children: Children[str]) -> str:
    """A stage's function that collects children."""
    return "+".join(children.values)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_children(scheduler: Scheduler) -> None:
    """Each child is told of from when it is made, with its parent, and so is how it ends."""
    events: list[Event] = []
    stages = Stage("split", halves, expand=True), Stage("keep", keep), Stage("join", joined, collect=True)
    with Pipeline(*stages, scheduler=scheduler).open() as running:
        running.events.subscribe(events.append)
        assert running.submit("ab").result().value == "b"
    by_id: dict[Any, list[str]] = {}
    for one in events:
        kind = one.kind if one.outcome is None else one.outcome.status
        by_id.setdefault(one.id, []).append(kind if one.stage is None else f"{kind} {one.stage}")
        assert one.parent == (None if one.id == "ab" else "ab")
    calls = ["call_started keep", "call_returned keep"]
    assert by_id == {
        "ab": [
            *("taken", "call_started split", "call_returned split", "call_started join", "call_returned join"),
            "written",
        ],
        "ab/0": ["taken", *calls, "dropped"],
        "ab/1": ["taken", *calls, "collected"],
    }


def test_a_parent_that_nobody_collects() -> None:
    """It ends as expanded, after its children."""
    outcomes: list[tuple[Any, str]] = []
    with Pipeline(Stage("split", halves, expand=True), Stage("keep", keep)).open() as running:
        running.outcomes.subscribe(lambda outcome: outcomes.append((outcome.id, outcome.status)))
        assert running.submit("ab").result().status == "expanded"
    assert sorted(outcomes[:2]) == [("ab/0", "dropped"), ("ab/1", "written")]
    assert outcomes[2:] == [("ab", "expanded")]


def test_who_comes_late_and_who_leaves() -> None:
    """Hot: only what happens while one is subscribed."""
    with Pipeline(Stage("same", same)).open() as running:
        running.submit(1).result()
        seen: list[Any] = []
        subscription = running.outcomes.subscribe(lambda outcome: seen.append(outcome.id))
        running.submit(2).result()
        subscription.dispose()
        running.submit(3).result()
    assert seen == [2]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_outcomes_follow_the_grammar(scheduler: Scheduler) -> None:
    """One at a time, from however many threads, and then the end."""
    seen = Seen()
    with Pipeline(Stage("same", same, concurrency=8), scheduler=scheduler).open() as running:
        running.outcomes.subscribe(seen)
        for number in range(200):
            running.submit(number)
    assert sorted(seen.ids) == list(range(200))
    assert (seen.completed, seen.broken) == (True, [])
    late = Seen()
    running.outcomes.subscribe(late)
    assert late.completed


def test_the_end_of_a_pipeline_that_fails() -> None:
    """Subscribers get its error."""
    hot: Hot[Any] = Hot()
    seen, late = Seen(), Seen()
    hot.observable.subscribe(seen)
    error = SinkError("away")
    hot.end(error)
    hot.observable.subscribe(late)
    assert seen.error is late.error is error


def test_a_subscriber_that_raises() -> None:
    """It is told no more; the others and the pipeline do not notice."""
    seen: list[Any] = []

    def refuse(outcome: Any) -> None:
        seen.append(("bad", outcome.id))
        raise LookupError

    with capture_logs() as logs, Pipeline(Stage("same", same)).open() as running:
        running.outcomes.subscribe(refuse)
        running.outcomes.subscribe(lambda outcome: seen.append(("good", outcome.id)))
        for number in (1, 2):
            assert running.submit(number).result().status == "written"
    assert seen == [("bad", 1), ("good", 1), ("good", 2)]
    assert [log["event"] for log in logs] == ["subscriber failed, and is told no more"]


def test_a_subscriber_that_submits() -> None:
    """As an event-driven app does: one outcome leads to the next ID."""

    async def main() -> None:
        async with Pipeline(Stage("same", same), scheduler="asyncio").open() as running:

            def go_on(outcome: Outcome[Any]) -> None:
                if int(outcome.id) < 20:
                    running.submit(int(outcome.id) + 1)

            running.outcomes.subscribe(go_on)
            await running.submit(0)
            while running.report().written < 21:
                await running.submit(20)

    on_loop(main())


def test_publishing_from_many_threads() -> None:
    """No two at once, and none lost."""
    hot: Hot[Any] = Hot()
    inside = threading.Lock()
    got: list[int] = []

    def note(value: int) -> None:
        assert inside.acquire(blocking=False)
        got.append(value)
        inside.release()

    hot.observable.subscribe(note)

    def publish() -> None:
        for value in range(500):
            hot.publish(value)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(got) == 2000)
    assert sorted(got) == sorted(list(range(500)) * 4)


def test_cut_off_calls_end_with_their_items() -> None:
    """There is a last event for each item, also where the pipeline is closed at once."""
    door = Door()
    events: list[Event] = []

    async def main() -> None:
        async with Pipeline(Stage("door", door.coroutine), scheduler="asyncio").open(grace=0) as running:
            running.events.subscribe(events.append)
            running.submit(1)
            await door.calls_made(1)

    on_loop(main())
    assert [(one.kind, one.outcome and one.outcome.status) for one in events] == [
        ("taken", None),
        ("call_started", None),
        ("ended", "cancelled"),
    ]
