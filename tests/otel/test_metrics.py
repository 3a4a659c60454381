"""What is counted and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from otel_helpers import Point, Telemetry
from pipeline_helpers import Block, Seen, finish, same, until

from rxpipe import DatabaseSink, Drop, Pipeline, Retry, RunStore, SendBack, Stage, Usage, record_usage
from rxpipe.otel import OpenTelemetry

AGAIN = Retry(max_attempts=2, initial=0.001, max_delay=0.001)


def at(stage: str, **more: str) -> Point:
    """The attributes of a measurement."""
    named = {"error": "error.type", "kind": "gen_ai.token.type", "ended": "rxpipe.item.status"}
    named |= {"reason": "rxpipe.item.drop_reason", "to": "rxpipe.sent_back.to"}
    return tuple(sorted([("rxpipe.stage.name", stage), *((named[key], value) for key, value in more.items())]))


def odd_fails(value: int) -> int:
    record_usage(Usage(prompt_tokens=3, completion_tokens=2, cost=0.5))
    if value % 2:
        raise KeyError(value)
    return value


SECRET = "s3cr3t"


def pays(value: int) -> int:
    record_usage(Usage(prompt_tokens=3, completion_tokens=2, cost=0.5))
    return value


def test_calls_and_items() -> None:
    """Calls by their stage and what they failed with, retries, items by how they ended, and what calls used."""
    telemetry = Telemetry()
    stages = [Stage("a", same), Stage("b", odd_fails, retry=AGAIN)]
    Pipeline(*stages, listeners=[telemetry.listener]).run(range(5))
    failed = at("b", error="KeyError")
    assert telemetry.measured("rxpipe.stage.duration", "count") == {at("a"): 5, at("b"): 3, failed: 4}
    assert telemetry.measured("rxpipe.stage.retries") == {failed: 2}
    written = (("rxpipe.item.status", "written"),)
    assert telemetry.measured("rxpipe.items") == {written: 3, at("b", error="KeyError", ended="failed"): 2}
    assert telemetry.measured("rxpipe.item.duration", "count")[written] == 3
    assert telemetry.measured("rxpipe.stage.tokens") == {at("b", kind="input"): 21, at("b", kind="output"): 14}
    assert telemetry.measured("rxpipe.stage.cost") == {at("b"): 3.5}


def test_other_ends() -> None:
    """Items that were dropped, with their stage; parents and children as what they ended."""
    telemetry = Telemetry()

    def keep(value: int) -> Any:
        return value if value else Drop("nothing")

    stages = Stage("split", range, expand=True), Stage("keep", keep), Stage("join", len, collect=True)
    Pipeline(*stages, listeners=[telemetry.listener]).run([3, 4])
    written, collected = ((("rxpipe.item.status", status),) for status in ("written", "collected"))
    assert telemetry.measured("rxpipe.items") == {
        written: 2,
        collected: 5,
        at("keep", ended="dropped", reason="nothing"): 2,
    }
    assert telemetry.measured("rxpipe.item.duration", "count").total() == 9


def test_reasons_without_end_are_few_time_series() -> None:
    """Those beyond a hundred are one; none is told where texts are not."""
    telemetry, silent = Telemetry(), Telemetry(error_texts=False)
    stage = Stage("a", lambda value: Drop(f"number {value}"))
    Pipeline(stage, listeners=[telemetry.listener, silent.listener]).run(range(150))
    assert len(telemetry.measured("rxpipe.items")) == 101
    assert telemetry.measured("rxpipe.items")[at("a", ended="dropped", reason="_OTHER")] == 50
    assert silent.measured("rxpipe.items") == {at("a", ended="dropped"): 150}


def test_items_that_are_sent_back() -> None:
    """Each time, by where from and where to; the item's span has an event."""
    telemetry = Telemetry()

    def judge(value: int) -> Any:
        return value if feedback_seen.pop(value, None) else SendBack("a", SECRET)

    feedback_seen: dict[int, bool] = {2: True}
    stages = Stage("a", same), Stage("b", judge, max_rounds=1)
    Pipeline(*stages, listeners=[telemetry.listener]).run([1, 2])
    assert telemetry.measured("rxpipe.stage.sent_back") == {at("b", to="a"): 1}
    (event,) = (event for span in telemetry.named("rxpipe.item", id="1") for event in span.events[:1])
    assert (event.name, dict(event.attributes or {})) == (
        "rxpipe.sent_back",
        {"rxpipe.stage.name": "b", "rxpipe.sent_back.to": "a"},
    )


def test_results_of_the_cache(tmp_path: Path) -> None:
    """They are counted, and the item's span tells what they saved."""
    telemetry = Telemetry()
    stage = Stage("b", pays, cache=True)
    store, sink = RunStore(fresh=True), DatabaseSink(f"sqlite:///{tmp_path / 'bank.db'}")
    for listeners in ([], [telemetry.listener]):
        Pipeline(stage, sink=sink, store=store, listeners=listeners, name="bank").run([2, 4])
    assert telemetry.measured("rxpipe.stage.cached") == {at("b"): 2}
    events = [event for span in telemetry.named("rxpipe.item") for event in span.events]
    assert {(event.name, (event.attributes or {})["rxpipe.usage.cost"]) for event in events} == {("rxpipe.cached", 0.5)}


def test_seconds() -> None:
    """Durations are seconds: those of calls are no longer than their items'."""
    telemetry = Telemetry()
    Pipeline(Stage("a", same), listeners=[telemetry.listener]).run(range(5))
    calls = telemetry.measured("rxpipe.stage.duration", "sum").total()
    assert 0 < calls < telemetry.measured("rxpipe.item.duration", "sum").total() < 20


def test_calls_that_are_cut_off() -> None:
    """They are measured as well, as cancelled."""
    telemetry, block = Telemetry(), Block()
    run = Pipeline(Stage("a", block), listeners=[telemetry.listener]).start([1], Seen())
    block.wait_for(1)
    run.abort()
    finish(run)
    block.may_return.set()
    assert telemetry.measured("rxpipe.stage.duration", "count") == {at("a", error="cancelled"): 1}
    assert telemetry.measured("rxpipe.items") == {(("rxpipe.item.status", "cancelled"),): 1}


@pytest.mark.parametrize("listeners", [1, 2])
def test_what_runs_and_what_waits(listeners: int) -> None:
    """Of all runs together, also where each pipeline has a listener of its own; nothing once they are over."""
    telemetry, block = Telemetry(), Block()
    other = OpenTelemetry(meter_provider=telemetry.meter_provider) if listeners == 2 else telemetry.listener
    runs = [
        Pipeline(Stage("a", block, concurrency=2), listeners=[listener]).start(range(5), Seen())
        for listener in (telemetry.listener, other)
    ]
    block.wait_for(4)
    assert telemetry.measured("rxpipe.stage.running") == {at("a"): 4}
    until(lambda: telemetry.measured("rxpipe.stage.waiting") == {at("a"): 6})
    block.may_return.set()
    for run in runs:
        finish(run)
    telemetry.assert_all_over()
    assert not telemetry.measured("rxpipe.stage.running")
