"""Gates: how many items pass, who is woken when, and who finds which gate."""

from __future__ import annotations

import contextvars
import math
import threading

import pytest
import reactivex as rx
from operator_helpers import Gauge, Watch, merged
from reactivex import operators as rx_ops
from reactivex.testing import TestScheduler

from rxpipe.operators import from_iterable, stage
from rxpipe.operators.core.gate import Gate, announced_gate, announcing


def admit(gate: Gate, count: int = 1) -> None:
    gate.admitted += count


def odd(value: int) -> bool:
    return value % 2 == 1


class Wakes:
    """Counts how often it was woken."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def test_a_gate_holds_as_many_as_its_capacity() -> None:
    """There is room until so many items are held, and none then."""
    gate, wake = Gate(2), Wakes()
    assert gate.wait(wake)
    admit(gate)
    assert gate.wait(wake)
    admit(gate)
    assert not gate.wait(wake)
    assert gate.held == 2


def test_a_gate_without_bound_is_always_open() -> None:
    """With `math.inf` nobody ever waits."""
    gate = Gate(math.inf)
    admit(gate, 1_000_000)
    assert gate.wait(Wakes())
    assert gate.enter(Wakes())


def test_a_release_wakes_who_waits_once() -> None:
    """Whoever found the gate closed is woken when there is room, and is not woken again unasked."""
    gate, wake = Gate(1), Wakes()
    admit(gate)
    assert not gate.wait(wake)
    assert not gate.wait(wake)
    gate.release()
    assert wake.count == 1
    admit(gate)
    gate.release()
    assert wake.count == 1


def test_who_finds_room_is_not_woken() -> None:
    """One who was let in after all has nothing to wait for."""
    gate, wake = Gate(1), Wakes()
    assert gate.wait(wake)
    admit(gate)
    gate.release()
    assert wake.count == 0


def test_a_gate_with_slack_reopens_when_several_places_are_free() -> None:
    """With `slack=3` a closed gate wakes when three places are free; who asks meanwhile gets in."""
    gate, wake = Gate(4, slack=3), Wakes()
    admit(gate, 4)
    assert not gate.wait(wake)
    gate.release()
    gate.release()
    assert wake.count == 0
    gate.release()
    assert wake.count == 1


def test_a_gate_that_is_resized_holds_so_many() -> None:
    """More at once, or fewer; what it holds beyond that stays."""
    gate, wake = Gate(2), Wakes()
    admit(gate, 2)
    gate.resize(3)
    assert gate.wait(wake)
    admit(gate)
    gate.resize(1)
    assert gate.held == 3
    assert not gate.wait(wake)


def test_a_smaller_gate_reopens_later() -> None:
    """Who waits is woken when there is room by the new measure."""
    gate, wake = Gate(3), Wakes()
    admit(gate, 3)
    assert not gate.wait(wake)
    gate.resize(1)
    gate.release()
    gate.release()
    assert wake.count == 0
    gate.release()
    assert wake.count == 1


def test_a_larger_gate_wakes_at_the_next_release_or_when_it_is_opened() -> None:
    """Resizing alone wakes nobody, as whoever resizes it has more to do first."""
    gate, wake = Gate(1), Wakes()
    admit(gate)
    assert not gate.wait(wake)
    gate.resize(2)
    assert wake.count == 0
    gate.open()
    assert wake.count == 1


def test_a_resized_gate_keeps_its_slack() -> None:
    """So many places must be free before somebody is woken, of whatever capacity."""
    gate, wake = Gate(4, slack=2), Wakes()
    gate.resize(6)
    admit(gate, 6)
    assert not gate.wait(wake)
    gate.release()
    assert wake.count == 0
    gate.release()
    assert wake.count == 1


def test_reservations_count_in_a_resized_gate() -> None:
    """A place that is reserved is none that is free."""
    gate = Gate(1)
    assert gate.enter(Wakes())
    gate.resize(2)
    assert gate.enter(Wakes())
    assert not gate.enter(Wakes())


def test_places_are_reserved_in_a_shared_gate() -> None:
    """Of two who ask for the one place left, the first gets it, and the other is woken if it is not used."""
    gate, first, second = Gate(1), Wakes(), Wakes()
    assert gate.enter(first)
    assert not gate.enter(second)
    gate.leave()
    assert (first.count, second.count) == (0, 1)
    assert gate.enter(second)


def test_an_item_that_arrives_takes_its_reservation() -> None:
    """Reserved and admitted, an item counts once when the reservation has ended."""
    gate = Gate(2)
    assert gate.enter(Wakes())
    admit(gate)
    gate.leave()
    assert gate.held == 1
    assert gate.enter(Wakes())


def test_wakers_run_under_no_lock() -> None:
    """A waker may wait for another thread that uses the gate."""
    gate = Gate(1)

    def wake() -> None:
        other = threading.Thread(target=gate.enter, args=(Wakes(),))
        other.start()
        other.join(20)
        assert not other.is_alive()

    admit(gate)
    assert not gate.wait(wake)
    gate.release()


def test_no_wake_is_lost_between_threads() -> None:
    """A producer and a consumer on two threads pass thousands of items through a narrow gate without a hitch."""
    gate, room, items = Gate(2), threading.Event(), threading.Semaphore(0)
    count = 3000

    def consume() -> None:
        for _ in range(count):
            assert items.acquire(timeout=20)
            gate.release()

    consumer = threading.Thread(target=consume)
    consumer.start()
    for _ in range(count):
        while gate.held >= gate.capacity and not gate.wait(room.set):
            assert room.wait(20)
            room.clear()
        admit(gate)
        assert gate.held <= 2
        items.release()
    consumer.join(20)
    assert gate.held == 0


def test_the_nearest_gate_is_found_while_subscribing() -> None:
    """Inside of `announcing` the gate is there; an inner one goes before it, `None` hides it, and after it is gone."""
    outer, inner = Gate(1), Gate(1)
    with announcing(outer):
        assert announced_gate() is outer
        with announcing(inner):
            assert announced_gate() is inner
        with announcing(None):
            assert announced_gate() is None
        assert announced_gate() is outer
    assert announced_gate() is None


def test_an_announcement_ends_with_the_subscribing() -> None:
    """Timers and callbacks made meanwhile carry a copy of the context, and do not find the gate there later."""
    with announcing(Gate(1)):
        kept = contextvars.copy_context()
        assert kept.run(announced_gate) is not None
    assert kept.run(announced_gate) is None


def test_an_announcement_ends_also_when_subscribing_fails() -> None:
    """An error does not leave a gate behind."""
    with pytest.raises(ValueError, match="x"), announcing(Gate(1)):
        raise ValueError("x")
    assert announced_gate() is None


def test_a_gate_knows_that_it_is_shared() -> None:
    """From the second asker on, places have to be reserved."""
    gate = Gate(1)
    gate.take()
    assert not gate.shared
    gate.take()
    assert gate.shared


@pytest.mark.parametrize("queue_size", [0, 1, 5])
def test_synchronous_operators_let_a_gate_through(queue_size: int) -> None:
    """Through `map`, `filter` and `buffer` a source waits for a stage, exactly."""
    taken = Gauge()

    def count(value: int) -> int:
        with taken:
            return value

    chain = from_iterable(range(100)).pipe(
        rx_ops.map(count),
        rx_ops.filter(odd),
        rx_ops.buffer_with_count(2),
        stage(lambda _: rx.never(), queue_size=queue_size),
    )
    scheduler = TestScheduler()
    watch = Watch[int]().to(chain, scheduler)
    scheduler.start()
    assert taken.total == 4 * (1 + queue_size)
    watch.dispose()


def test_branches_together_keep_within_the_gate() -> None:
    """Several sources merged into one stage fill it, and not by one item too many."""
    scheduler, taken = TestScheduler(), Gauge()

    def count(value: int) -> int:
        with taken:
            return value

    branches = [from_iterable(range(10)).pipe(rx_ops.map(count)) for _ in range(3)]
    watch = Watch[int]()
    watch.to(merged(*branches).pipe(stage(lambda _: rx.never(), concurrency=2, queue_size=2)), scheduler)
    scheduler.start()
    assert taken.total == 4
    watch.dispose()


def test_a_branch_that_filters_gives_its_place_back() -> None:
    """An item that does not arrive frees its reservation for the other branches."""
    scheduler = TestScheduler()
    branches = [from_iterable(range(20)).pipe(rx_ops.filter(lambda _: False)), from_iterable(range(20))]
    watch = Watch[int]().to(merged(*branches).pipe(stage(lambda value: value, queue_size=0)), scheduler)
    scheduler.start()
    assert watch.result() == list(range(20))
