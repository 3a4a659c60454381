"""What waits in a store, as those are told who watch a run."""

from __future__ import annotations

import threading

from rxpipe import DatabaseSink, Pipeline, RunStore, Stage


def test_what_an_aborted_run_has_left(store_url: str) -> None:
    """It is ready; the first and the last of it are named, and which of some items still wait."""
    inside, goes_on = threading.Event(), threading.Event()

    def work(number: int) -> int:
        if number == 2:
            inside.set()
            goes_on.wait(30)
        return number

    pipeline = Pipeline(Stage("work", work, concurrency=1), sink=DatabaseSink(store_url), store=RunStore(), name="bank")
    run = pipeline.start(range(30))
    assert inside.wait(30)
    with RunStore(store_url).reader() as reader:
        assert run.number is not None
        assert reader.backlog(run.number).running > 0
        run.abort()
        goes_on.set()
        run.finished.result(30)
        left = reader.backlog(run.number, ["0", "2", "gone"])
        assert (left.running, left.waiting) == (0, 0)
        assert left.ready >= 1
        assert len(left.ends) == min(2, left.ready)
        assert left.still_ready <= {"2"}
        assert reader.backlog(run.number, sorted(left.ends)).still_ready == left.ends
        assert reader.backlog(99) == reader.backlog(98)
