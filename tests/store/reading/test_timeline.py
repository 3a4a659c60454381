"""The timeline: every second of every call counts once, in whatever part of a run, and what is left out is told."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert
from sqlalchemy.pool import NullPool

from rxpipe.identity.signature import StageSignature, to_text
from rxpipe.insight.reading import Timeline
from rxpipe.store.reading import call_times
from rxpipe.store.reading.call_heights import CallHeights
from rxpipe.store.reading.reader import StoreRunsReader
from rxpipe.store.schema.migrations import migrate
from rxpipe.store.schema.tables import CALLS, RUNS

STAGES = ("generation", "answering", "grading")
BEGAN = 1_000.0
ENDS = ("ok", "failed", "retried")


@dataclass(frozen=True)
class Call:
    """A call that was made; its beginning is that of the run plus so many seconds."""

    item: int
    stage: int
    began: float
    seconds: float
    ended: str

    def inside(self, since: float, until: float) -> float:
        return max(0.0, min(until, self.began + self.seconds) - max(since, self.began))


def made() -> list[Call]:
    """Short calls of a minute, and long ones that end much later."""
    chance = random.Random(3)
    found = [
        Call(number, chance.randrange(3), chance.uniform(0, 60), chance.expovariate(1.0), chance.choice(ENDS))
        for number in range(600)
    ]
    return [*found, Call(600, 2, 5.0, 4_000.0, "failed"), Call(601, 0, 0.0, 60.0, "ok")]


MADE = made()


def rows(calls: Sequence[Call]) -> list[dict[str, object]]:
    """Small commits, as an unhurried run has them."""
    ordered = sorted(calls, key=lambda call: call.began + call.seconds)
    found: list[dict[str, object]] = []
    for place in range(0, len(ordered), 4):
        group = ordered[place : place + 4]
        first = min(call.began for call in group)
        last = max(call.began + call.seconds for call in group)
        columns = {
            "item": [str(call.item) for call in group],
            "stage": [call.stage for call in group],
            "began": [round((call.began - first) * 1e6) for call in group],
            "waited": [0 for _ in group],
            "seconds": [round(call.seconds * 1e6) for call in group],
            "in_flight": [1 for _ in group],
            "ended": [ENDS.index(call.ended) for call in group],
        }
        times = {"at": BEGAN + last + 0.5, "from_at": BEGAN + first, "to_at": BEGAN + last}
        row = {"run_id": 1, "worker": "w", "number": place, "count": len(group), "calls": json.dumps(columns)}
        found.append({**row, **times})
    return found


@pytest.fixture
def reader(store_url: str) -> Iterator[StoreRunsReader]:
    """Of a run with the calls."""
    engine = create_engine(store_url, poolclass=NullPool)
    stages = to_text([StageSignature(name=name, call=name, version=None) for name in STAGES])
    with engine.begin() as connection:
        migrate(connection)
        connection.execute(insert(RUNS).values(name="x", generation=1, stages=stages, created_at=BEGAN))
        connection.execute(insert(CALLS), rows(MADE))
    with StoreRunsReader(store_url) as reader:
        yield reader


def windows() -> list[tuple[float, float]]:
    """Parts of the run: tiny, and far beyond its end."""
    chance = random.Random(5)
    some = [(chance.uniform(0, 60), chance.choice([0.1, 1.0, 5.0, 20.0])) for _ in range(12)]
    return [*some, (0.0, 60.0), (0.0, 5_000.0), (3_000.0, 10.0), (4_500.0, 10.0)]


def seconds_of_bars(told: Timeline, stage: str, since: float, until: float) -> float:
    bars = (bar for bar in told.bars if bar.stage == stage)
    return sum(max(0.0, min(until, bar.began + bar.seconds) - max(since, bar.began)) for bar in bars)


def test_all_seconds_of_all_calls_are_there(reader: StoreRunsReader) -> None:
    """In the bars, and in the heights, also those of calls that failed; nothing is cut."""
    for since, seconds in windows():
        told = reader.timeline(1, since=since, seconds=seconds, parts=37)
        until = since + seconds
        assert told.calls == len(told.bars) == sum(call.inside(since, until) > 0 for call in MADE)
        assert not told.is_cut
        assert told.heights is not None
        for index, of_stage in enumerate(told.heights):
            calls = [call for call in MADE if call.stage == index]
            busy = pytest.approx(sum(call.inside(since, until) for call in calls), abs=1e-3)
            failed = sum(call.inside(since, until) for call in calls if call.ended != "ok")
            assert seconds_of_bars(told, STAGES[index], since, until) == busy
            assert sum(of_stage.running) * seconds / 37 == busy
            assert sum(of_stage.failed) * seconds / 37 == pytest.approx(failed, abs=1e-3)


def test_fewer_bars_are_the_longest_calls_and_the_heights_are_those_of_all(reader: StoreRunsReader) -> None:
    """It says how many calls there are."""
    whole = reader.timeline(1, since=10, seconds=20)
    told = reader.timeline(1, since=10, seconds=20, most=15)
    longest = sorted((bar.seconds for bar in whole.bars), reverse=True)[:15]
    assert (len(told.bars), told.calls, told.is_cut) == (15, whole.calls, True)
    assert sorted((bar.seconds for bar in told.bars), reverse=True) == longest
    assert [bar.began for bar in told.bars] == sorted(bar.began for bar in told.bars)
    assert told.heights == whole.heights


def test_more_calls_than_can_be_read(reader: StoreRunsReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of all of the time are drawn, no heights are made up from them, and it says so."""
    monkeypatch.setattr(call_times, "_MOST_READ", 100)
    told = reader.timeline(1, since=0, seconds=60)
    assert told.heights is None
    assert told.is_cut
    assert told.calls >= 600
    assert 80 <= len(told.bars) <= 100
    assert {int(bar.began / 20) for bar in told.bars} == {0, 1, 2}


SECONDS = st.floats(0, 30, allow_subnormal=False)


@given(st.lists(st.tuples(SECONDS, SECONDS)), SECONDS, st.floats(0.01, 30), st.integers(1, 40))
def test_heights_have_every_second_once(
    calls: list[tuple[float, float]], since: float, seconds: float, parts: int
) -> None:
    """In the part in which it was: each mean is what the calls of that part add up to."""
    heights = CallHeights(since, seconds, parts)
    for began, took in calls:
        heights.add(began, took)
    found, long = heights.means(), seconds / parts
    assert len(found) == parts
    for place, mean in enumerate(found):
        low = since + place * long
        inside = sum(max(0.0, min(low + long, began + took) - max(low, began)) for began, took in calls)
        assert mean * long == pytest.approx(inside, abs=1e-6)
