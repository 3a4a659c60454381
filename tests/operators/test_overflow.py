"""`overflow`: what the policies keep and drop, and how the sequence ends."""

from __future__ import annotations

import threading
from typing import Any, Literal

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from marbles import Basin, Pulled, on_completed, on_error, on_next, play, taking
from operator_helpers import LIMIT, Watch, collect
from reactivex import operators as rx_ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.subject import Subject
from structlog.testing import capture_logs

from rxpipe.operators import from_iterable, overflow, stage
from rxpipe.operators.errors import BufferOverflow

ERROR = ValueError("no")


def keep(value: int) -> int:
    return value


def fed(operator: Any, values: range, capacity: int = 1) -> tuple[Subject[int], Basin[int]]:
    """A subject that has given these values to an operator, and what came out of it; the gate is closed then."""
    source, basin = Subject[int](), Basin[int](capacity)
    basin.fill_from(source.pipe(operator))
    for value in values:
        source.on_next(value)
    return source, basin


@pytest.mark.parametrize("policy", ["block", "drop_oldest", "drop_newest", "error"])
def test_items_pass_while_there_is_room(policy: Any) -> None:
    """Nobody notices the buffer."""
    messages = play(overflow(policy, 1), on_next(210, 1), on_next(220, 2), on_completed(230))
    assert messages == [on_next(210, 1), on_next(220, 2), on_completed(230)]


def test_drop_oldest() -> None:
    """The youngest wait."""
    dropped: list[int] = []
    source, basin = fed(overflow("drop_oldest", 2, on_drop=dropped.append), range(6))
    assert (basin.messages, dropped) == ([0], [1, 2, 3])
    source.on_completed()
    basin.drain(3)
    assert basin.messages == [0, 4, 5, None]


def test_drop_newest() -> None:
    """Those that came first wait."""
    dropped: list[int] = []
    source, basin = fed(overflow("drop_newest", 2, on_drop=dropped.append), range(6))
    assert (basin.messages, dropped) == ([0], [3, 4, 5])
    source.on_completed()
    basin.drain(3)
    assert basin.messages == [0, 1, 2, None]


def test_error() -> None:
    """One item too many ends the sequence at once, and disposes the source."""
    source, basin = fed(overflow("error", 2), range(3))
    assert basin.messages == [0]
    source.on_next(3)
    assert isinstance(basin.messages[1], BufferOverflow)
    assert basin.messages[1].capacity == 2
    assert source.observers == []
    basin.drain()
    assert len(basin.messages) == 2


@pytest.mark.parametrize("policy", ["block", "drop_oldest", "drop_newest", "error"])
def test_the_buffer_is_that_long(policy: Any) -> None:
    """As many items as its capacity wait without any being dropped."""
    source, basin = fed(overflow(policy, 3), range(4))
    basin.drain(4)
    source.on_completed()
    assert basin.messages == [0, 1, 2, 3, None]


@pytest.mark.parametrize("end", [None, ERROR])
def test_what_waits_goes_before_the_end(end: Exception | None) -> None:
    """Completions and errors wait for the items that came before."""
    source, basin = fed(overflow("drop_newest", 3), range(3))
    if end is None:
        source.on_completed()
    else:
        source.on_error(end)
    assert basin.messages == [0]
    basin.drain(2)
    assert basin.messages == [0, 1, 2, end]


def test_an_error_before_any_item() -> None:
    """It comes at once."""
    assert play(overflow("drop_oldest", 1), on_error(210, ERROR)) == [on_error(210, ERROR)]


def test_disposal() -> None:
    """What waits is gone."""
    source, basin = fed(overflow("drop_oldest", 3), range(3))
    basin.dispose()
    basin.drain()
    assert (basin.messages, source.observers) == ([0], [])


def test_disposal_out_of_an_item() -> None:
    """`take` ends an endless source, too."""
    pulled = Pulled(iter(int, 1))
    assert collect(from_iterable(pulled).pipe(overflow("drop_oldest", 3), rx_ops.take(2))) == [0, 0]
    assert pulled.count == 2


def test_a_slow_stage_downstream() -> None:
    """One item is in the stage, one waits, and of the others the youngest stays."""
    messages = play(
        rx.compose(overflow("drop_oldest", 1), taking(50)),
        *[on_next(tick, tick) for tick in (210, 220, 230, 240, 270, 280)],
        on_completed(290),
    )
    assert messages == [on_next(260, 210), on_next(310, 240), on_next(360, 280), on_completed(360)]


def test_the_policy_decides_for_sources_that_could_wait() -> None:
    """A source that pulls is not asked to wait, as the policy says what happens."""
    pulled = Pulled(range(100))
    basin = Basin[int](1).fill_from(from_iterable(pulled).pipe(overflow("drop_oldest", 2)))
    basin.drain(3)
    assert (basin.messages, pulled.count) == ([0, 98, 99, None], 100)


def test_each_subscription_has_its_own_buffer() -> None:
    """One that is slow costs the other nothing."""
    source = Subject[int]()
    bounded = source.pipe(overflow("drop_newest", 1))
    slow, fast = Basin[int](1).fill_from(bounded), Basin[int](10).fill_from(bounded)
    for value in range(4):
        source.on_next(value)
    slow.drain()
    assert (slow.messages, fast.messages) == ([0, 1], [0, 1, 2, 3])


@pytest.mark.parametrize("error", [ERROR, SystemExit()])
def test_what_on_drop_raises_ends_the_sequence(error: BaseException) -> None:
    """It does not reach the source."""

    def refuse(value: int) -> None:
        raise error

    _, basin = fed(overflow("drop_oldest", 1, on_drop=refuse), range(3))
    assert basin.messages[0] == 0
    assert error in (basin.messages[1], basin.messages[1].__cause__)


def test_an_observer_that_raises_ends_the_sequence() -> None:
    """It fails with that, and nothing else comes."""

    def refuse(value: int) -> None:
        raise ERROR

    watch, source = Watch[int](refuse), Subject[int]()
    watch.to(source.pipe(overflow("drop_oldest", 1)))
    source.on_next(1)
    source.on_next(2)
    assert (watch.values, watch.error) == ([1], ERROR)


def unlocked(source: Subject[int]) -> bool:
    """Whether another thread can give an item now."""
    thread = threading.Thread(target=source.on_next, args=(-1,), daemon=True)
    thread.start()
    thread.join(LIMIT / 10)
    return not thread.is_alive()


def test_no_lock_is_held_while_on_drop_runs() -> None:
    """Another thread may give an item meanwhile."""
    source, basin, answers = Subject[int](), Basin[int](1), list[bool]()

    def on_drop(value: int) -> None:
        if value >= 0 and not answers:
            answers.append(unlocked(source))

    basin.fill_from(source.pipe(overflow("drop_newest", 1, on_drop=on_drop)))
    for value in range(3):
        source.on_next(value)
    assert answers == [True]


def test_no_lock_is_held_while_the_observer_hears_of_an_overflow() -> None:
    """Another thread may give an item meanwhile."""
    source, answers = Subject[int](), list[bool]()
    gate = Basin[int](1)

    def tell(observer: ObserverBase[int], scheduler: SchedulerBase | None = None) -> DisposableBase:
        def on_error(error: Exception) -> None:
            answers.append(unlocked(source))
            observer.on_error(error)

        return source.pipe(overflow("error", 1)).subscribe(observer.on_next, on_error, observer.on_completed)

    gate.fill_from(rx.create(tell))
    for value in range(3):
        source.on_next(value)
    assert answers == [True]
    assert isinstance(gate.messages[-1], BufferOverflow)


@pytest.mark.parametrize("end", ["completion", "disposal"])
def test_drops_are_logged_at_the_end(end: str) -> None:
    """One line says how many were dropped, and of which buffer."""
    with capture_logs() as logs:
        source, basin = fed(overflow("drop_newest", 2), range(6))
        assert logs == []
        if end == "completion":
            source.on_completed()
            basin.drain(3)
        else:
            basin.dispose()
    assert logs == [
        {
            "event": "items dropped",
            "log_level": "warning",
            "policy": "drop_newest",
            "capacity": 2,
            "dropped": 3 if end == "completion" else 5,  # what waited is dropped, too
        }
    ]


def test_nothing_is_logged_without_a_drop() -> None:
    """All is well."""
    with capture_logs() as logs:
        collect(rx.of(1, 2, 3).pipe(overflow("drop_oldest", 1)))
    assert logs == []


@pytest.mark.parametrize("policy", ["drop", "", None])
def test_unknown_policies_are_refused(policy: Any) -> None:
    """The message says which there are."""
    with pytest.raises(ValueError, match="block, drop_oldest, drop_newest, error"):
        overflow(policy, 1)


@pytest.mark.parametrize("capacity", [0, -1])
def test_no_buffer_is_refused(capacity: int) -> None:
    """It holds at least one item."""
    with pytest.raises(ValueError, match="capacity"):
        overflow("block", capacity)


steps = st.lists(st.sampled_from(["give", "drain"]), max_size=60)


@given(steps=steps, policy=st.sampled_from(["drop_oldest", "drop_newest"]), capacity=st.integers(1, 4))
def test_nothing_is_lost_unnoticed(
    steps: list[str], policy: Literal["drop_oldest", "drop_newest"], capacity: int
) -> None:
    """What was kept and what was dropped is what came; both in order; and the log's count is right."""
    source, basin, dropped = Subject[int](), Basin[int](1), list[int]()
    with capture_logs() as logs:
        basin.fill_from(source.pipe(overflow(policy, capacity, on_drop=dropped.append)))
        given = 0
        for step in steps:
            if step == "give":
                source.on_next(given)
                given += 1
            elif basin.gate.held:
                basin.drain()
        source.on_completed()
        while basin.gate.held:
            basin.drain()
    kept = basin.messages[:-1]
    assert basin.messages[-1] is None
    assert (sorted(kept), sorted(dropped)) == (kept, dropped)
    assert sorted(kept + dropped) == list(range(given))
    assert sum(log["dropped"] for log in logs) == len(dropped)


def test_drops_are_counted_exactly_across_threads() -> None:
    """With threads on both sides, what was kept and what was dropped is what came."""
    dropped: list[int] = []
    source, watch = Subject[int](), Watch[int]()
    watch.to(source.pipe(overflow("drop_oldest", 5, on_drop=dropped.append), stage(keep, concurrency=2, queue_size=1)))
    for value in range(3000):
        source.on_next(value)
    source.on_completed()
    assert sorted(watch.end() + dropped) == list(range(3000))
