"""What simulated calls go to: calls that slow each other down, and those that wait."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex.abc import DisposableBase

from foresight.worlds import stage
from rxpipe import Pipeline
from rxpipe.foresight import RecordedCall, RecordedRun, simulate
from rxpipe.foresight.calls.load import Load
from rxpipe.foresight.calls.refusals import Bucket, Rate
from rxpipe.foresight.virtual.server import Server
from rxpipe.operators.core.virtual_time import VirtualTime

SHARED = Load(knee=2, slope=0.5)


def ends(server: Server, time: VirtualTime, calls: list[tuple[float, float]]) -> list[float]:
    """When each call ends, by when it comes and its work; ``inf`` if it does not."""
    found = [math.inf] * len(calls)

    def start(place: int, work: float) -> None:
        server.start(work, lambda: found.__setitem__(place, time.seconds))

    for place, (at, work) in enumerate(calls):
        time.at(at, lambda place=place, work=work: start(place, work))  # type: ignore[misc]
    time.run()
    return found


def test_calls_up_to_the_knee_go_at_full_speed() -> None:
    """Four at once go at half of it."""
    time = VirtualTime()
    assert ends(Server(time, SHARED), time, [(0, 1), (0, 1)]) == [1, 1]
    time = VirtualTime()
    assert ends(Server(time, SHARED), time, [(0, 1)] * 4) == pytest.approx([2, 2, 2, 2])


def test_the_speed_changes_as_calls_come_and_go() -> None:
    """Two run for a second at full speed, then four at half."""
    time = VirtualTime()
    assert ends(Server(time, SHARED), time, [(0, 2), (0, 2), (1, 1), (1, 1)]) == pytest.approx([3, 3, 3, 3])


def test_what_waits_there_comes_in_its_order() -> None:
    """One slot: one after the other; a call that is never answered keeps it."""
    time = VirtualTime()
    assert ends(Server(time, slots=1), time, [(0, 1), (0, 2), (0.5, 1)]) == [1, 3, 4]
    time = VirtualTime()
    assert ends(Server(time, slots=1), time, [(0, 1), (0, math.inf), (0.5, 1)]) == [1, math.inf, math.inf]


def test_calls_are_taken_away() -> None:
    """Those that run free their slot and slow nobody down; those that wait never begin; those that ended stay ended."""
    time, seen = VirtualTime(), list[str]()
    server = Server(time, SHARED, slots=4)
    calls: dict[str, DisposableBase] = {}
    for name in "abcdef":
        calls[name] = server.start(1.0, lambda name=name: seen.append(f"{name} {time.seconds:g}"))  # type: ignore[misc]
    time.at(1.0, lambda: [calls[name].dispose() for name in "abe"])
    time.run()
    assert seen == ["c 1.75", "d 1.75", "f 2.25"]
    calls["c"].dispose()


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.01, 5)), min_size=1, max_size=20), st.integers(1, 5))
def test_no_work_is_lost(calls: list[tuple[float, float]], knee: int) -> None:
    """A server that shares itself does ``knee`` seconds of work a second at most, and all of it in the end."""
    time = VirtualTime()
    found = ends(Server(time, Load(knee=knee, slope=1 / knee)), time, calls)
    work = sum(each for _, each in calls)
    assert max(found) >= min(at for at, _ in calls) + work / knee - 1e-6
    for (at, each), end in zip(calls, found, strict=True):
        assert at + each - 1e-6 <= end < math.inf


def test_a_bucket() -> None:
    """It is full at first, and says when there is room."""
    now = [0.0]
    bucket = Bucket(Rate(unit="calls", rate=2, size=3), lambda: now[0])
    assert [bucket.enter(0) for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] = 0.5
    assert (bucket.enter(0), bucket.enter(0)) == (0, 0.5)


def test_a_bucket_of_tokens() -> None:
    """A call that needs more than fits in is let in when it is full."""
    now = [0.0]
    bucket = Bucket(Rate(unit="tokens", rate=10, size=100), lambda: now[0])
    assert (bucket.enter(500), bucket.enter(20)) == (0, 2)


def test_the_rate_of_the_server() -> None:
    """As many calls as in a second get in at once, then one after the other; others are refused, and come again."""
    record = RecordedRun(
        calls=[RecordedCall(str(item), "a", 1, 10.0 * item, 0.1, "ok") for item in range(20)], roots=range(20)
    )
    found = simulate(Pipeline(stage("a", concurrency=8)), record=record, server_rate=4.0, replications=0)
    assert found.written.middle == 20
    assert found.pushed_back.middle > 0
    assert found.seconds.middle == pytest.approx((20 - 4) / 4, abs=0.5)
