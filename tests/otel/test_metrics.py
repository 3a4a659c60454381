"""What is counted and measured."""

from __future__ import annotations

from typing import Any

import pytest
from otel_helpers import Point, Telemetry
from pipeline_helpers import Block, Seen, finish, same, until

from rxpipe import Drop, Pipeline, Retry, Stage, Usage, record_usage
from rxpipe.otel import OpenTelemetry

AGAIN = Retry(max_attempts=2, initial=0.001, max_delay=0.001)


def at(stage: str, **more: str) -> Point:
    """The attributes of a measurement."""
    named = {"error": "error.type", "kind": "gen_ai.token.type", "ended": "rxpipe.item.status"}
    return tuple(sorted([("rxpipe.stage.name", stage), *((named[key], value) for key, value in more.items())]))


def odd_fails(value: int) -> int:
    record_usage(Usage(prompt_tokens=3, completion_tokens=2, cost=0.5))
    if value % 2:
        raise KeyError(value)
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
    assert telemetry.measured("rxpipe.items") == {written: 2, collected: 5, at("keep", ended="dropped"): 2}
    assert telemetry.measured("rxpipe.item.duration", "count").total() == 9


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
