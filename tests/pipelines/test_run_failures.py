"""Runs whose observers or sinks raise, or do what they like."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import reactivex
from pipeline_helpers import LIMIT, Block, Ids, ListSink, Seen, counts, finish, run_virtually, same
from reactivex import Observable
from reactivex import operators as rx_ops
from structlog.testing import capture_logs

from rxpipe import Outcome, Pipeline, SinkError, Stage
from rxpipe.pipeline.ports import Write


@pytest.mark.parametrize("raised", [ValueError("observer"), KeyboardInterrupt("observer")])
def test_an_observer_that_raises_ends_the_run(raised: BaseException) -> None:
    """It is told no more but the end, what is finished is written, and the run fails with that."""
    sink = ListSink()

    def on_next(outcome: Outcome[Any]) -> None:
        raise raised

    seen = Seen(on_next)
    run = Pipeline(Stage("a", same), sink=sink).start(Ids(1000), seen)
    with pytest.raises(Exception, match="observer"):
        finish(run)
    report = run.report()
    assert report.taken == report.written + report.cancelled < 1000
    assert len(sink.rows) == report.written
    assert len(seen.outcomes) == 1
    assert seen.error is run.finished.exception()


def test_an_observer_that_raises_at_what_was_cancelled_does_not_hide_the_end() -> None:
    """The run ends all the same."""
    block = Block()

    def on_next(outcome: Outcome[Any]) -> None:
        raise ValueError("observer")

    run = Pipeline(Stage("a", block)).start([1, 2], Seen(on_next))
    block.wait_for(2)
    run.abort()
    with pytest.raises(ValueError, match="observer"):
        finish(run)
    block.may_return.set()
    assert counts(run) == (2, 0, 0, 2)


def test_a_subscriber_to_outcomes_that_raises_is_told_so() -> None:
    """By its own ``on_error``."""
    errors: list[Exception] = []
    over = threading.Event()

    def on_next(outcome: Outcome[Any]) -> None:
        raise ValueError("observer")

    def on_error(error: Exception) -> None:
        errors.append(error)
        over.set()

    Pipeline(Stage("a", same)).outcomes(range(100)).subscribe(on_next, on_error)
    assert over.wait(LIMIT)
    assert repr(errors) == "[ValueError('observer')]"


def test_a_report_that_cannot_be_made_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was wrong, rather than never."""

    def broken(snapshots: object) -> None:
        raise ZeroDivisionError("advice")

    monkeypatch.setattr("rxpipe.pipeline.run.snapshots.insight_of", broken)
    sink = ListSink()
    with pytest.raises(ZeroDivisionError, match="advice"):
        finish(Pipeline(Stage("a", same), sink=sink).start([1]))
    assert len(sink.rows) == 1


# Sinks of the user's own


class SinkOf:
    def __init__(self, write: Write) -> None:
        self._write = write

    def open(self) -> Write:
        return self._write


def test_a_sink_that_fails_in_the_middle_ends_the_run() -> None:
    """What it had kept was written, and the rest is accounted for."""
    sink, seen = ListSink(poison=5), Seen()
    run = Pipeline(Stage("a", same, concurrency=1), sink=sink).start(Ids(100), seen)
    with pytest.raises(OSError, match="the list is full"):
        finish(run)
    report = run.report()
    assert (report.written, sink.ids) == (5, [0, 1, 2, 3, 4])
    assert report.taken == report.written + report.cancelled == len(seen.outcomes)
    assert seen.error is run.finished.exception()


def test_a_failure_of_the_sink_is_told_before_that_of_the_source() -> None:
    """Which stays visible as its context."""
    run = Pipeline(Stage("a", same), sink=ListSink(poison=1)).start(
        reactivex.concat(reactivex.of(1), reactivex.throw(LookupError("source")))
    )
    with pytest.raises(OSError, match="full") as caught:
        finish(run)
    assert repr(caught.value.__context__) in ("LookupError('source')", "None")


def test_a_sink_may_drop_outcomes() -> None:
    """They count as cancelled: nobody said that they are safe."""
    sink = SinkOf(rx_ops.filter(lambda outcome: outcome.id % 2 == 0))
    assert counts(Pipeline(Stage("a", same), sink=sink).run(range(10))) == (10, 5, 0, 5)


def test_a_sink_may_say_that_an_item_was_cancelled() -> None:
    """It is counted so."""

    def cancel(outcome: Outcome[Any]) -> Outcome[Any]:
        return Outcome(id=outcome.id, status="cancelled", value=1, error=None, stage=None, attempts=1, seconds=0.0)

    assert counts(Pipeline(Stage("a", same), sink=SinkOf(rx_ops.map(cancel))).run(range(3))) == (3, 0, 0, 3)


def test_a_sink_that_completes_early_ends_the_run() -> None:
    """What is on its way was cancelled."""
    report = Pipeline(Stage("a", same), sink=SinkOf(rx_ops.take(2))).run(Ids(100))
    assert report.written == 2
    assert report.taken == 2 + report.cancelled < 100


def test_a_sink_that_gives_back_what_it_was_not_given_fails_the_run() -> None:
    """It would count twice."""

    def twice(outcomes: Observable[Outcome[Any]]) -> Observable[Outcome[Any]]:
        return outcomes.pipe(rx_ops.flat_map(lambda outcome: reactivex.of(outcome, outcome)))

    with pytest.raises(SinkError, match="an outcome that it was not given: 1"):
        Pipeline(Stage("a", same), sink=SinkOf(twice)).run([1])


def test_a_sink_gets_everything_before_it_is_told_of_the_end() -> None:
    """It completes, also where the source has failed: an operator that collects need not know of errors."""
    sink = SinkOf(lambda outcomes: outcomes.pipe(rx_ops.to_list(), rx_ops.flat_map(reactivex.from_iterable)))
    run = Pipeline(Stage("a", same), sink=sink).start(
        reactivex.concat(reactivex.of(1, 2), reactivex.throw(LookupError("source")))
    )
    with pytest.raises(LookupError, match="source"):
        finish(run)
    assert counts(run) == (2, 2, 0, 0)


@pytest.mark.parametrize(("fine", "warnings"), [((), 1), ((3,), 0)], ids=["all fail", "one does not"])
def test_all_items_that_fail_are_told_of_once(fine: tuple[int, ...], warnings: int) -> None:
    """As each costs its calls before; not if some get through."""

    def check(value: int) -> int:
        if value in fine:
            return value
        raise AttributeError(f"item {value} has no answer")

    with capture_logs() as logs:
        report = run_virtually(Pipeline(Stage("asking", same), Stage("checking", check)), range(50))
    assert report.failed == 50 - len(fine)
    assert logs == warnings * [
        {
            "event": "all items fail in a stage",
            "log_level": "warning",
            "stage": "checking",
            "failed": 20,
            "error": "AttributeError: item 0 has no answer",
            "hint": "rxpipe run --max-failures 20 ends such a run early",
        }
    ]
