"""Stages with ``cache``: what an earlier call has returned is used again, in any run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from rxpipe import Batch, DatabaseSink, Drop, Pipeline, Retry, RunStore, SendBack, Stage, Usage, feedback, record_usage
from rxpipe.operators import RateLimiter
from rxpipe.pipeline.outcome import Report
from rxpipe.store import result_cache
from rxpipe.store.queries.details import details
from rxpipe.store.queries.history import run
from rxpipe.store.schema.tables import CACHE, CHECKPOINTS

from .bank import rows
from .stores import looking

NO_DELAY = Retry(max_attempts=3, initial=0.0, max_delay=0.0)


class Paid:
    """Functions that cost something, and count their calls."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def write(self, number: int) -> dict[str, Any]:
        self.calls["write"] += 1
        record_usage(Usage(prompt_tokens=10, completion_tokens=2, cost=0.25))
        return {"number": number}

    def grade(self, value: dict[str, Any]) -> dict[str, Any]:
        self.calls["grade"] += 1
        record_usage(Usage(prompt_tokens=5, cost=0.5))
        return {**value, "score": 1.0}

    def run(self, url: str, count: int = 4, *, version: int = 1, caches: tuple[bool, bool] = (True, True)) -> Report:
        """A new run; its calls are counted anew."""
        self.calls.clear()
        stages = (
            Stage("writing", self.write, cache=caches[0]),
            Stage("grading", self.grade, cache=caches[1], version=version),
        )
        return Pipeline(*stages, sink=DatabaseSink(url), store=RunStore(fresh=True), name="paid").run(range(count))


def cached(report: Report) -> list[int]:
    """How many results each stage used again."""
    return [stage.cached for stage in report.stages]


def again(url: str, *stages: Stage, source: Any = (1, 2), **options: Any) -> Report:
    """A new run of these stages."""
    return Pipeline(*stages, sink=DatabaseSink(url), store=RunStore(fresh=True), name="again", **options).run(source)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["per_stage", "per_item"])
def test_a_second_run_pays_nothing(store_url: str, strategy: Any) -> None:
    """It ends with the same values, and tells what that saved; so does the store."""
    paid = Paid()
    stages = Stage("writing", paid.write, cache=True), Stage("grading", paid.grade, cache=True)
    first = again(store_url, *stages, source=range(7), strategy=strategy)
    assert (paid.calls.total(), first.saved, cached(first)) == (14, Usage(), [0, 0])
    second = again(store_url, *stages, source=range(7), strategy=strategy)
    assert (paid.calls.total(), second.written, second.usage) == (14, 7, Usage())
    assert cached(second) == [7, 7]
    assert second.saved == first.usage == Usage(prompt_tokens=105, completion_tokens=14, cost=5.25)
    assert [stage.done for stage in second.stages] == [0, 0]
    assert "saved by the cache: 105 prompt and 14 completion tokens, cost 5.25" in str(second)
    assert "cache" not in str(first)
    outputs = Counter((row.item_key, row.stage, row.output) for row in rows(store_url, CHECKPOINTS))
    assert set(outputs.values()) == {2}
    with looking(store_url) as connection:
        found = details(connection, run(connection, second.run))
    assert found.run.usage == Usage()
    assert [(stage.cached, stage.checkpoints) for stage in found.stages] == [(7, 7), (7, 7)]
    assert sum((stage.saved for stage in found.stages), Usage()) == first.usage


def test_on_an_event_loop(sqlite_url: str) -> None:
    """Of coroutine functions; the loop does not wait for the database."""
    calls: list[int] = []

    async def ask(value: int) -> int:
        calls.append(value)
        return value

    for times in range(2):
        report = again(sqlite_url, Stage("asking", ask, cache=True), source=range(5), scheduler="asyncio")
        assert (report.written, cached(report)) == (5, [5 * times])
    assert sorted(calls) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_changed_last_stage_pays_for_the_last_stage_only(store_url: str) -> None:
    """The version has another result; the results of the earlier one are still there."""
    paid = Paid()
    paid.run(store_url)
    report = paid.run(store_url, version=2)
    assert (paid.calls, cached(report)) == ({"grade": 4}, [4, 0])
    assert report.usage == Usage(prompt_tokens=20, cost=2.0)
    assert report.saved == Usage(prompt_tokens=40, completion_tokens=8, cost=1.0)
    assert cached(paid.run(store_url, version=1)) == [4, 4]
    assert paid.calls.total() == 0


@pytest.mark.slow
def test_only_for_stages_that_ask_for_it(store_url: str) -> None:
    """The others neither use results of earlier calls nor keep any."""
    paid = Paid()
    paid.run(store_url, caches=(False, True))
    assert {row.call for row in rows(store_url, CACHE)} == {f"{__name__}:Paid.grade"}
    report = paid.run(store_url, caches=(False, False))
    assert (paid.calls, cached(report)) == ({"write": 4, "grade": 4}, [0, 0])
    report = paid.run(store_url, caches=(True, True))
    assert (paid.calls, cached(report)) == ({"write": 4}, [0, 4])


def test_new_items_are_called_with(store_url: str) -> None:
    """Beside those that are known."""
    paid = Paid()
    paid.run(store_url, 2)
    report = paid.run(store_url, 5)
    assert (paid.calls, cached(report), report.written) == ({"write": 3, "grade": 3}, [2, 2], 5)
    assert [stage.done for stage in report.stages] == [3, 3]


def test_in_another_pipeline_under_another_name(store_url: str) -> None:
    """What counts is the function and the value."""
    paid = Paid()
    paid.run(store_url)
    stages = Stage("anything", paid.write, cache=True, concurrency=9), Stage("else", str, when=lambda _: False)
    report = Pipeline(*stages, sink=DatabaseSink(store_url, table="b"), store=RunStore(), name="b").run(range(4))
    assert cached(report) == [4, 0]
    assert paid.calls == {"write": 4, "grade": 4}


def test_hits_wait_for_no_rate_limit(sqlite_url: str) -> None:
    """Nor do they take a slot, or count as calls."""
    paid = Paid()
    paid.run(sqlite_url, 5)
    limit = RateLimiter(1, 3600.0)
    stage = Stage("writing", paid.write, cache=True, rate_limit=limit, concurrency=1)
    pipeline = Pipeline(stage, sink=DatabaseSink(sqlite_url, table="c"), store=RunStore(), name="c")
    running = pipeline.start(range(5))
    report = running.finished.result(20)
    (stats,) = running.stages
    assert cached(report) == [5]
    assert (stats.taken, stats.started, stats.running, stats.waiting, stats.busy) == (0, 0, 0, 0, 0.0)


def test_hits_cost_nothing_of_the_budget(sqlite_url: str) -> None:
    """A run that has no money left still gets what it has paid for."""
    paid = Paid()
    paid.run(sqlite_url, 8)
    stage = Stage("writing", paid.write, cache=True)
    sink = DatabaseSink(sqlite_url, table="c")
    report = Pipeline(stage, sink=sink, store=RunStore(), name="c", max_cost=0.01).run(range(8))
    assert (report.written, cached(report)) == (8, [8])


def test_what_retries_used_is_saved_too(sqlite_url: str) -> None:
    """A result costs what all attempts at it cost."""
    failures = [ValueError(), ValueError()]

    def ask(value: int) -> int:
        record_usage(Usage(cost=1.0))
        if failures:
            raise failures.pop()
        return value

    stage = Stage("asking", ask, cache=True, retry=NO_DELAY)
    assert again(sqlite_url, stage, source=[1]).usage.cost == 3.0
    assert again(sqlite_url, stage, source=[1]).saved.cost == 3.0


def _drop(value: int) -> Any:
    return Drop("no")


def _fail(value: int) -> Any:
    raise ValueError


def _send_back(value: int) -> Any:
    return SendBack("asking")


@pytest.mark.parametrize("ask", [_drop, _fail, _send_back])
def test_only_results_are_kept(sqlite_url: str, ask: Callable[[int], Any]) -> None:
    """Not how items end otherwise."""
    for _ in range(2):
        report = again(sqlite_url, Stage("asking", ask, cache=True, max_rounds=1), source=[1])
        assert (cached(report), report.written) == ([0], 0)
    assert rows(sqlite_url, CACHE) == []


@pytest.mark.slow
def test_feedback_is_no_part_of_the_input(store_url: str) -> None:
    """An item that was sent back is called with, and its result is not kept; the first one is."""
    told: list[Any] = []

    def write(number: int) -> str:
        told.append(feedback())
        return f"{number}: {feedback() or 'first'}"

    def check(text: str) -> str:
        if "first" in text:
            raise SendBack("writing", "better")
        return text

    stages = Stage("writing", write, cache=True), Stage("checking", check, cache=True)
    for times in (1, 2):
        report = again(store_url, *stages, source=[1])
        assert told == [None, *["better"] * times]
        assert (report.written, report.stages[0].cached) == (1, times - 1)
    kept = {row.output for row in rows(store_url, CACHE)}
    assert kept == {'"1: first"', '"1: better"'}  # of the first stage, and of the second
    assert {row.output for row in rows(store_url, CACHE) if "check" in row.call} == {'"1: better"'}


def test_values_that_are_not_wanted_pass(sqlite_url: str) -> None:
    """``when`` is asked first, and what it raises fails the item."""
    calls: list[int] = []

    def double(value: int) -> int:
        calls.append(value)
        return 2 * value

    stage = Stage("doubling", double, cache=True, when=lambda value: 6 // value > 1)
    for times in (1, 2):
        report = again(sqlite_url, stage, source=[0, 3, 5])
        assert (report.written, report.failed, cached(report)) == (2, 1, [times - 1])
    assert calls == [3]
    assert [row.output for row in rows(sqlite_url, CACHE)] == ["6"]


@pytest.mark.slow
def test_batches_have_a_result_for_each_item(store_url: str) -> None:
    """Only the others are called with."""
    calls: list[list[int]] = []

    def embed(values: list[int]) -> list[Any]:
        calls.append(sorted(values))
        record_usage(Usage(prompt_tokens=6 * len(values)))
        return [ValueError() if value == 3 else [value / 2] for value in values]

    stage = Stage("embedding", embed, cache=True, batch=Batch(max_items=10, max_seconds=0.05))
    again(store_url, stage, source=[1, 2, 3])
    calls.clear()
    report = again(store_url, stage, source=[1, 2, 3, 4])
    assert sorted(value for call in calls for value in call) == [3, 4]
    assert (report.written, report.failed, cached(report)) == (3, 1, [2])
    assert report.saved == Usage(prompt_tokens=12)


def test_objects_come_back_as_they_were(store_url: str) -> None:
    """Each item gets one of its own."""
    stages = Stage("a", _as_set, cache=True), Stage("b", _changed, cache=True)
    for times in range(2):
        report = again(store_url, *stages, source=[1, 2])
        assert (report.written, cached(report)) == (2, [2 * times] * 2)


def _as_set(value: int) -> set[str]:
    return {"a", "b", str(value)}


def _changed(value: set[str]) -> list[str]:
    value.add("c")  # behind the back of the key
    return sorted(value)


def test_a_value_without_a_hash_is_not_cached(sqlite_url: str) -> None:
    """Its item is called with as ever."""
    stages = Stage("deepening", _deep), Stage("measuring", _measure, cache=True)
    for _ in range(2):
        report = again(sqlite_url, *stages, source=[1])
        assert (report.written, cached(report)) == (1, [0, 0])
    assert rows(sqlite_url, CACHE) == []


def _deep(value: int) -> Any:
    found: Any = value
    for _ in range(150):
        found = [found]
    return found


def _measure(value: Any) -> int:
    return len(value)


def test_a_database_that_cannot_tell(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function is called, the result kept, and one line tells it."""
    paid = Paid()
    paid.run(sqlite_url)

    def fails(*_: Any) -> Any:
        raise ZeroDivisionError("no table")

    monkeypatch.setattr(result_cache, "find_results", fails)
    with capture_logs() as logs:
        report = paid.run(sqlite_url)
    assert (paid.calls.total(), report.written, cached(report)) == (8, 4, [0, 0])
    assert [log["error"] for log in logs if log["event"] == "results of earlier calls cannot be looked up"] == [
        "ZeroDivisionError: no table"
    ]


def test_a_result_that_cannot_be_read(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its class is gone: the function is called."""
    stage = Stage("a", _as_set, cache=True)
    again(sqlite_url, stage)
    monkeypatch.setattr("rxpipe.store.commits.outputs.b64decode", str)
    assert cached(again(sqlite_url, stage)) == [0]


@pytest.mark.slow
def test_a_run_that_goes_on(sqlite_url: str) -> None:
    """Results of the cache are checkpoints like others: they are not looked up again."""
    paid = Paid()
    paid.run(sqlite_url, 3)
    stages = Stage("writing", paid.write, cache=True), Stage("failing", _fail_once, version=1)
    pipeline = Pipeline(*stages, sink=DatabaseSink(sqlite_url, table="d"), store=RunStore(), name="d")
    report = pipeline.run(range(3))
    assert (cached(report), report.failed) == ([3, 0], 3)
    report = pipeline.run(range(3))
    assert (cached(report), report.taken) == ([0, 0], 0)


def _fail_once(value: Any) -> Any:
    raise ValueError
