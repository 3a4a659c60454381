"""Spans of items and calls: which there are, below which others, and how they end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reactivex
from faststream.rabbit import RabbitBroker, TestRabbitBroker
from faststream.rabbit.opentelemetry import RabbitTelemetryMiddleware
from otel_helpers import Telemetry, identity, status, told
from pipeline_helpers import LIMIT, WAYS, run_virtually, same
from reactivex import operators as rx_ops

from rxpipe import (
    Children,
    DatabaseSink,
    Drop,
    Pipeline,
    Retry,
    RunStore,
    SendBack,
    Stage,
    StageTimeout,
    StopRun,
    Usage,
    load_pipeline,
    record_usage,
)
from rxpipe.faststream import PipelineConsumer
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.plan import Scheduler
from rxpipe.pipeline.ports import Write
from rxpipe.pipeline.run.strategies import Strategy

AGAIN = Retry(max_attempts=2, initial=0.001, max_delay=0.001)


class Busy(Exception):
    """A server that is busy."""

    retry_after = 0.001
    uses_attempt = False


def failing(error: BaseException, times: int = 1_000) -> Any:
    """A function that raises so many times."""
    left = [None] * times

    def call(value: Any) -> Any:
        if left:
            left.pop()
            raise error
        return value

    return call


@pytest.mark.parametrize(("strategy", "scheduler"), WAYS)
def test_a_span_for_each_item_and_call(strategy: Strategy, scheduler: Scheduler) -> None:
    """However a pipeline runs, a span for each item is below none, and has one for each stage below it."""
    telemetry = Telemetry()
    stages = [Stage("a", same), Stage("b", same)]
    Pipeline(*stages, strategy=strategy, scheduler=scheduler, listeners=[telemetry.listener]).run(range(3))
    assert telemetry.tree() == ["rxpipe.item", ["a", "b"]] * 3
    telemetry.assert_all_over()


def test_what_spans_tell() -> None:
    """The ID, the stage, which attempt it was, how it ended: and nothing else where nothing was wrong."""
    telemetry = Telemetry()
    Pipeline(Stage("a", same), listeners=[telemetry.listener]).run(["x"])
    item, call = telemetry.spans
    assert told(item) == {"rxpipe.item.id": "x", "rxpipe.item.status": "written", "rxpipe.item.calls": 1}
    assert told(call) == {
        "rxpipe.item.id": "x",
        "rxpipe.stage.name": "a",
        "rxpipe.call.attempt": 1,
        "rxpipe.call.status": "returned",
    }
    assert status(item) == status(call) == ("UNSET", None)
    scope = item.instrumentation_scope
    assert scope is not None
    assert scope.name == "rxpipe"


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_below_the_span_in_which_the_run_started(scheduler: Scheduler) -> None:
    """A span that is current where a pipeline is run has the items below it."""
    telemetry = Telemetry()
    pipeline = Pipeline(Stage("a", same), scheduler=scheduler, listeners=[telemetry.listener])

    async def nightly() -> None:
        with telemetry.tracer.start_as_current_span("nightly"):
            await pipeline.run_async(range(2))

    with telemetry.tracer.start_as_current_span("main"):
        pipeline.run(range(2))
    asyncio.run(nightly())
    items = ["rxpipe.item", ["a"]] * 2
    assert telemetry.tree() == ["main", items, "nightly", items]


@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_below_the_span_that_submitted_it(scheduler: Scheduler) -> None:
    """Of an open pipeline, each item is below the request that submitted it, not below whoever opened it."""
    telemetry = Telemetry()
    pipeline = Pipeline(Stage("a", same), scheduler=scheduler, listeners=[telemetry.listener])

    async def serve() -> None:
        with telemetry.tracer.start_as_current_span("service"):
            running = await pipeline.open().__aenter__()

        async def request(number: int) -> None:
            with telemetry.tracer.start_as_current_span(f"request {number}"):
                await running.submit(number)

        await asyncio.gather(request(1), request(2))
        await running.__aexit__(None, None, None)

    asyncio.run(serve())
    assert telemetry.children(None) == telemetry.spans[:1] + telemetry.named("request 1") + telemetry.named("request 2")
    for number in (1, 2):
        (item,) = telemetry.children(telemetry.only(f"request {number}"))
        assert told(item)["rxpipe.item.id"] == str(number)
    telemetry.assert_all_over()


@pytest.mark.slow
def test_pipeline_of_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener can be added to a pipeline that there is already."""
    monkeypatch.chdir(tmp_path)  # where its database is, by default
    config = tmp_path / "pipeline.yaml"
    config.write_text('stages: [{name: a, call: "pipeline_helpers:same"}]\n', "utf-8")
    telemetry, pipeline = Telemetry(), load_pipeline(config)
    pipeline.listeners += (telemetry.listener,)
    pipeline.run([1])
    assert telemetry.tree() == ["rxpipe.item", ["a"]]


def test_below_the_span_of_its_message() -> None:
    """A message's item is below the span that FastStream's own middleware makes of it, in the publisher's trace."""
    telemetry = Telemetry()
    consumer = PipelineConsumer(Pipeline(Stage("a", same), listeners=[telemetry.listener]))
    broker = RabbitBroker(middlewares=[RabbitTelemetryMiddleware(tracer_provider=telemetry.tracer_provider)])
    consumer.subscribe(broker, "questions")

    async def main() -> None:
        async with consumer.lifespan(), TestRabbitBroker(broker) as connected:
            with telemetry.tracer.start_as_current_span("publisher"):
                await connected.publish(7, "questions")

    asyncio.run(main())
    (item,) = telemetry.children(telemetry.only("default.questions process"))
    assert telemetry.tree(item) == ["a"]
    assert identity(item, of="trace_id") == identity(telemetry.only("publisher"), of="trace_id")
    telemetry.assert_all_over()


def test_ended_before_whoever_waits_goes_on() -> None:
    """Whoever has got an outcome finds the item's span ended."""
    telemetry = Telemetry()
    with Pipeline(Stage("a", same), listeners=[telemetry.listener]).open() as running:
        for number in range(50):
            running.submit(number).result(LIMIT)
            assert telemetry.only("rxpipe.item", id=str(number))


def test_retries_are_seen() -> None:
    """Each attempt has a span: those that others follow say so, and with what they failed."""
    telemetry = Telemetry()
    stages = [Stage("a", same), Stage("b", failing(ValueError("no"), 1), retry=AGAIN), Stage("c", same)]
    Pipeline(*stages, listeners=[telemetry.listener]).run([1])
    assert telemetry.tree() == ["rxpipe.item", ["a", "b", "b", "c"]]
    first, second = telemetry.only("b", attempt=1), telemetry.only("b", attempt=2)
    assert (told(first)["rxpipe.call.status"], told(first)["error.type"]) == ("retried", "ValueError")
    assert status(first) == ("ERROR", "ValueError: no")
    (event,) = first.events
    assert event.name == "exception"
    assert (event.attributes or {})["exception.type"] == "ValueError"
    assert (event.attributes or {})["exception.message"] == "no"
    assert "in call" in str((event.attributes or {})["exception.stacktrace"])
    assert told(second)["rxpipe.call.status"] == "returned"
    item = telemetry.only("rxpipe.item")
    assert (status(item), told(item)["rxpipe.item.calls"]) == (("UNSET", None), 4)


def test_failed_for_good() -> None:
    """The last call and the item have the status ERROR; the error is told in full by the call, and once."""
    telemetry = Telemetry()
    stages = [Stage("a", failing(StageTimeout("other", 1.0)), retry=AGAIN), Stage("b", same)]
    Pipeline(*stages, listeners=[telemetry.listener]).run([1])
    assert telemetry.tree() == ["rxpipe.item", ["a", "a"]]
    item, last = telemetry.only("rxpipe.item"), telemetry.only("a", attempt=2)
    assert told(last)["rxpipe.call.status"] == "failed"
    assert told(item)["rxpipe.item.status"] == "failed"
    assert told(item)["rxpipe.stage.name"] == "a"
    for span in (item, last):
        assert status(span)[0] == "ERROR"
        assert told(span)["error.type"] == "rxpipe.operators.errors.StageTimeout"
    assert (len(item.events), len(last.events)) == (0, 1)


class Refusing:
    """A sink that takes no row."""

    def open(self) -> Write:
        def refuse(outcome: Outcome[Any]) -> Outcome[Any]:
            return replace(outcome, status="failed", error=OSError("the disk is full"))

        return rx_ops.map(refuse)


def test_refused_by_the_sink() -> None:
    """No call has told of the error then: so the item does, in full."""
    telemetry = Telemetry()
    Pipeline(Stage("a", same), sink=Refusing(), listeners=[telemetry.listener]).run([1])
    item = telemetry.only("rxpipe.item")
    assert status(item) == ("ERROR", "OSError: the disk is full")
    assert len(item.events) == 1
    assert status(telemetry.only("a")) == ("UNSET", None)


def test_timed_out() -> None:
    """A call that timed out has ended at its deadline, and another attempt has a span of its own."""
    telemetry = Telemetry()
    stage = Stage("a", lambda _: reactivex.never(), timeout=30, retry=Retry(max_attempts=2, jitter=0))
    run_virtually(Pipeline(stage, listeners=[telemetry.listener]), [1])
    assert [told(span)["rxpipe.call.status"] for span in telemetry.named("a")] == ["retried", "failed"]
    assert status(telemetry.only("a", attempt=2))[0] == "ERROR"
    assert told(telemetry.only("a", attempt=2))["error.type"] == "rxpipe.operators.errors.StageTimeout"
    telemetry.assert_all_over()


def test_pushed_back_is_the_same_attempt() -> None:
    """A call that the server refused for now does not use up an attempt: the next one has the same number."""
    telemetry = Telemetry()
    Pipeline(Stage("a", failing(Busy(), 1), retry=AGAIN), listeners=[telemetry.listener]).run([1])
    assert [told(span)["rxpipe.call.attempt"] for span in telemetry.named("a")] == [1, 1]


def test_what_calls_used() -> None:
    """What they told by record_usage is added up, also of one that fails."""
    telemetry = Telemetry()

    def call(value: int) -> int:
        record_usage(Usage(prompt_tokens=3, cost=0.25))
        record_usage(Usage(completion_tokens=4, cost=0.5))
        if value:
            raise ValueError
        return value

    Pipeline(Stage("a", call), listeners=[telemetry.listener]).run([0, 1])
    for span in telemetry.named("a"):
        used = {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4, "rxpipe.usage.cost": 0.75}
        assert used.items() <= told(span).items()


def test_stops_the_run() -> None:
    """The call that stops a run has failed, its item is cancelled: no fault of the item's."""
    telemetry = Telemetry()
    with pytest.raises(StopRun):
        Pipeline(Stage("a", failing(StopRun("no credit"))), concurrency=1, listeners=[telemetry.listener]).run([1])
    assert status(telemetry.only("a"))[0] == "ERROR"
    item = telemetry.only("rxpipe.item")
    assert (told(item)["rxpipe.item.status"], status(item)) == ("cancelled", ("UNSET", None))
    telemetry.assert_all_over()


@pytest.mark.slow
def test_goes_on_with_a_run(tmp_path: Path) -> None:
    """An item that a store has seen through a stage has no span of that stage any more."""
    database = f"sqlite:///{tmp_path / 'questions.db'}"

    def run(call: Any, telemetry: Telemetry) -> None:
        stages = [Stage("a", same, version=1), Stage("b", call, version=1)]
        sink = DatabaseSink(database)
        Pipeline(*stages, sink=sink, store=RunStore(resume=True), listeners=[telemetry.listener]).run([1])
        telemetry.assert_all_over()

    first, second = Telemetry(), Telemetry()
    with pytest.raises(StopRun):
        run(failing(StopRun("enough")), first)
    run(same, second)
    assert first.tree() == ["rxpipe.item", ["a", "b"]]
    assert second.tree() == ["rxpipe.item", ["b"]]
    assert told(second.only("b"))["rxpipe.call.attempt"] == 1


def split(value: str) -> list[str]:
    return list(value)


def joined(children: Children[str]) -> str:
    return "+".join(children.values)


def no_vowels(value: str) -> Any:
    return Drop("a vowel") if value in "aeiou" else value


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("scheduler", ["threads", "asyncio"])
def test_children_are_below_their_parents(scheduler: Scheduler, collects: bool) -> None:
    """Each names its parent; how it ended is told, and why it was dropped."""
    telemetry = Telemetry()
    stages: list[Stage] = [Stage("split", split, expand=True), Stage("keep", no_vowels)]
    stages += [Stage("join", joined, collect=True)] if collects else []
    Pipeline(*stages, scheduler=scheduler, listeners=[telemetry.listener]).run(["ab"])
    (parent,) = telemetry.children(None)
    below = telemetry.children(parent)
    calls = ["split", "join"] if collects else ["split"]
    assert sorted(span.name for span in below) == sorted(["rxpipe.item"] * 2 + calls)
    assert told(parent)["rxpipe.item.status"] == ("written" if collects else "expanded")
    assert "rxpipe.parent_id" not in told(parent)
    dropped, kept = telemetry.only("rxpipe.item", id="ab/0"), telemetry.only("rxpipe.item", id="ab/1")
    assert told(dropped) == {
        "rxpipe.item.id": "ab/0",
        "rxpipe.parent_id": "ab",
        "rxpipe.item.status": "dropped",
        "rxpipe.item.calls": 1,
        "rxpipe.stage.name": "keep",
        "rxpipe.item.drop_reason": "a vowel",
    }
    assert status(dropped) == ("UNSET", None)
    assert told(kept)["rxpipe.item.status"] == ("collected" if collects else "written")
    assert [span.name for span in telemetry.children(kept)] == ["keep"]
    telemetry.assert_all_over()


def test_rounds_are_seen() -> None:
    """A call of a later round is a first attempt again, also where a stage sends items back to itself."""
    telemetry = Telemetry()
    rounds: list[str] = []

    def grade(value: Any) -> Any:
        record_usage(Usage(cost=1.0))
        rounds.append(value)
        if len(rounds) < 3:
            raise SendBack("grading" if len(rounds) == 1 else "answering")
        return value

    Pipeline(Stage("answering", same), Stage("grading", grade), listeners=[telemetry.listener]).run([1])
    assert [told(span)["rxpipe.call.attempt"] for span in telemetry.named("grading")] == [1, 1, 1]
    assert [told(span)["rxpipe.usage.cost"] for span in telemetry.named("grading")] == [1.0, 1.0, 1.0]
    assert [told(span)["rxpipe.call.status"] for span in telemetry.named("answering")] == ["returned"] * 2
    item = told(telemetry.only("rxpipe.item"))
    assert (item["rxpipe.item.calls"], item["rxpipe.item.rounds"]) == (5, 2)
