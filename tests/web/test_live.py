"""A run of this process: its history in bounded memory, and its numbers over time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rxpipe.insight.reading import RunRow
from rxpipe.insight.snapshot import Snapshot
from rxpipe.web.all_runs import AllRuns
from rxpipe.web.live import History, LiveRun
from rxpipe.web.series import point, series, window

from .fake_figures import LIVE, snapshot_at
from .fake_runs import FakeRuns


@pytest.mark.parametrize("most", [4, 7, 600])
def test_history_is_bounded_and_even_and_whole(most: int) -> None:
    """The first and the newest are always there; distances between the others are equal."""
    history = History(most)
    for second in range(1, 3_000):
        history.add(snapshot_at(float(second)))
        kept = [one.elapsed for one in history.read()]
        assert len(kept) <= most
        assert (kept[0], kept[-1]) == (1.0, second)
        steps = {after - before for before, after in pairwise(kept[:-1])}
        assert len(steps) <= 1


def test_an_empty_history() -> None:
    """Of a run that has not begun."""
    assert History().read() == []


def test_a_live_run_is_looked_at_until_it_is_over() -> None:
    """The last look is kept."""
    states = iter([None, *(snapshot_at(float(second)) for second in range(1, 4)), snapshot_at(4.0, state="finished")])
    live = LiveRun(lambda: next(states))
    assert [live.look() for _ in range(5)] == [True, True, True, True, False]
    assert [one.elapsed for one in live.history()] == [1.0, 2.0, 3.0, 4.0]


def test_a_run_of_this_process_is_among_those_of_the_store() -> None:
    """Its numbers are the newest, and its history begins where the store's does."""
    runs = FakeRuns(clock=lambda: 640.0)
    newest: list[Snapshot] = []
    live = LiveRun(lambda: newest[-1])
    for second in (630.0, 631.0):
        newest.append(snapshot_at(second, run=11))
        live.look()
    everything = AllRuns(runs, live)
    assert [row.number for row in everything.runs()] == list(range(12, 0, -1))
    assert everything.now(11)[1] is newest[-1]
    assert everything.now(LIVE)[1] == runs.latest(LIVE)
    history = everything.history(11, 50)
    assert [one.elapsed for one in history[-2:]] == [630.0, 631.0]
    assert [one.at for one in history] == sorted(one.at for one in history)


def test_a_look_at_a_run_of_this_process_asks_the_store_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second that is CPU time of the run's own process."""
    runs = FakeRuns(clock=lambda: 640.0)
    asked: list[int] = []
    answer = runs.run

    def run(number: int) -> RunRow | None:
        asked.append(number)
        return answer(number)

    monkeypatch.setattr(runs, "run", run)
    row, snapshot = AllRuns(runs, LiveRun(lambda: snapshot_at(630.0, run=11))).now(11)
    assert (row, snapshot) == (answer(11), snapshot_at(630.0, run=11))
    assert asked == [11]


def test_a_run_without_a_number_is_found_as_0() -> None:
    """It has no store."""
    everything = AllRuns(None, LiveRun(lambda: snapshot_at(9.0, run=0)))
    (row,) = everything.runs()
    assert (row.number, row.state, row.counts["running"]) == (0, "running", row.counts["running"])
    assert everything.run(0) == row
    assert everything.run(1) is None


def test_rates_are_of_the_time_between() -> None:
    """And quantiles of its calls alone."""
    before, now = snapshot_at(100.0), snapshot_at(110.0)
    told = point(before, now)
    assert told["written"] == pytest.approx((now.written - before.written) / 10)
    assert told["cost"] == pytest.approx(now.usage.cost)
    assert told["stages"][1]["busy"] == pytest.approx(0.985)
    assert window(before, now)["sink_busy"] == pytest.approx(0.06 / 2)


def test_a_run_that_counts_from_0_again() -> None:
    """No rate is below 0."""
    told = point(snapshot_at(600.0), snapshot_at(10.0))
    assert told["written"] == pytest.approx(snapshot_at(10.0).written / 10)
    columns = series([snapshot_at(600.0), snapshot_at(10.0), snapshot_at(20.0)])
    assert all(value >= 0 for value in columns["written"])


def test_stages_that_changed_leave_out_what_was_before() -> None:
    """Columns have one length."""
    other = snapshot_at(5.0, names=["a", "b", "c"])
    columns = series([other, snapshot_at(10.0)])
    assert [stage["name"] for stage in columns["stages"]] == ["generation", "answering", "grading"]
    assert series([]) == {"stages": []}
