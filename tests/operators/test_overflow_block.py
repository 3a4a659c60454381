"""`overflow("block", …)`: whose thread waits for room, until when, and where that is refused."""

from __future__ import annotations

import signal
import threading

import pytest
import reactivex as rx
from marbles import Basin
from operator_helpers import LIMIT, Hanging, Watch, run_on_loop
from reactivex.scheduler import NewThreadScheduler
from reactivex.subject import Subject

from rxpipe.operators import from_iterable, overflow, stage
from rxpipe.operators.errors import BufferOverflow


def keep(value: int) -> int:
    return value


class Producer(threading.Thread):
    """Gives numbers to a subject, and counts those that it got rid of."""

    def __init__(self, subject: Subject[int], numbers: range) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self._subject = subject
        self._numbers = numbers
        self._changed = threading.Condition()
        self.start()

    def run(self) -> None:
        for number in self._numbers:
            self._subject.on_next(number)
            with self._changed:
                self.done += 1
                self._changed.notify_all()

    def wait_for(self, done: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.done >= done, LIMIT), f"only {self.done}"

    def is_stuck(self) -> bool:
        """Whether it gives nothing more in a while; a producer that should wait, and does not, is much faster."""
        done = self.done
        self.join(0.02)
        return self.is_alive() and self.done == done


def test_the_source_s_thread_waits_for_room() -> None:
    """It gets rid of what the gate and the buffer take, then of one item for each that goes."""
    source, basin = Subject[int](), Basin[int](1)
    basin.fill_from(source.pipe(overflow("block", 2)))
    producer = Producer(source, range(6))
    producer.wait_for(3)
    assert producer.is_stuck()
    basin.drain()
    producer.wait_for(4)
    assert producer.is_stuck()
    assert basin.messages == [0, 1]
    for _ in range(5):
        basin.drain()
    producer.join(LIMIT)
    assert basin.messages == [0, 1, 2, 3, 4, 5]


def test_disposal_releases_whoever_waits() -> None:
    """The thread goes on, and its items go nowhere."""
    source, basin = Subject[int](), Basin[int](1)
    basin.fill_from(source.pipe(overflow("block", 1)))
    producer = Producer(source, range(100))
    producer.wait_for(2)
    assert producer.is_stuck()
    basin.dispose()
    producer.join(LIMIT)
    assert (producer.done, basin.messages) == (100, [0])


def test_an_end_downstream_releases_whoever_waits() -> None:
    """So does an observer that raises."""
    source, go_on = Subject[int](), threading.Event()

    def fail(value: int) -> None:
        assert go_on.wait(LIMIT)
        raise ValueError("no")

    watch = Watch[int](fail)
    watch.to(source.pipe(overflow("block", 1), stage(keep, queue_size=0)))
    producer = Producer(source, range(100))
    producer.wait_for(2)
    assert producer.is_stuck()
    go_on.set()
    producer.join(LIMIT)
    assert producer.done == 100
    with pytest.raises(ValueError, match="no"):
        watch.end()


def test_nothing_is_dropped() -> None:
    """However slow the stage is: every item comes, in order, and the source completes."""
    source = Subject[int]()
    watch = Watch[int]().to(source.pipe(overflow("block", 3), stage(keep, queue_size=1)))
    producer = Producer(source, range(2000))
    producer.join(LIMIT)
    source.on_completed()
    assert watch.end() == list(range(2000))


def test_a_source_of_reactivex_s_own_on_a_thread_of_its_own() -> None:
    """One that knows no gates is held up by its thread."""
    source = rx.from_iterable(range(500), NewThreadScheduler())
    watch = Watch[int]().to(source.pipe(overflow("block", 3), stage(keep, queue_size=1)))
    assert watch.end() == list(range(500))


def test_on_a_loop_it_is_an_error(hanging: Hanging) -> None:
    """A loop that waited would never make room."""

    async def main() -> Watch[int]:
        source = Subject[int]()
        watch = Watch[int]().to(source.pipe(overflow("block", 2), stage(hanging, concurrency=1, queue_size=0)))
        for value in range(4):
            source.on_next(value)
        with pytest.raises(BufferOverflow):
            await watch.end_on_loop()
        return watch

    assert run_on_loop(main, virtual=False).values == []


def test_on_a_loop_it_is_none_while_there_is_room() -> None:
    """Items that need not wait are welcome there."""

    async def main() -> list[int]:
        source = Subject[int]()
        watch = Watch[int]().to(source.pipe(overflow("block", 2), stage(keep, queue_size=0)))
        for value in range(3):
            source.on_next(value)
        source.on_completed()
        return await watch.end_on_loop()

    assert run_on_loop(main, virtual=False) == [0, 1, 2]


def test_inside_a_stage_s_call_it_is_an_error() -> None:
    """A call that waited for room in what its own stage feeds might wait for ever."""
    feedback, basin = Subject[int](), Basin[int](1)
    basin.fill_from(feedback.pipe(overflow("block", 1)))

    def call(value: int) -> int:
        feedback.on_next(value)
        return value

    assert Watch[int]().to(from_iterable(range(5)).pipe(stage(call))).end() == [0, 1, 2, 3, 4]
    assert basin.messages[0] == 0
    assert isinstance(basin.messages[1], BufferOverflow)


def test_out_of_its_own_observer_it_is_an_error() -> None:
    """An observer that feeds the source it is fed by cannot wait for itself."""
    source = Subject[int]()

    def feed(value: int) -> None:
        for _ in range(3):
            source.on_next(value + 1)

    watch = Watch[int](feed).to(source.pipe(overflow("block", 2)))
    source.on_next(0)
    assert watch.values == [0]
    assert isinstance(watch.error, BufferOverflow)


def test_out_of_its_own_observer_it_is_none_while_there_is_room() -> None:
    """Feedback that does not overflow goes round."""
    source = Subject[int]()

    def feed(value: int) -> None:
        if value < 500:
            source.on_next(value + 1)

    watch = Watch[int](feed).to(source.pipe(overflow("block", 1)))
    source.on_next(0)
    assert watch.values == list(range(501))


def test_ctrl_c_while_it_waits() -> None:
    """The interrupt is the producer's; the sequence goes on."""
    source, basin = Subject[int](), Basin[int](1)
    basin.fill_from(source.pipe(overflow("block", 1)))
    source.on_next(0)
    source.on_next(1)
    main = threading.main_thread().ident
    assert main is not None
    interrupt = threading.Timer(0.01, signal.pthread_kill, (main, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        source.on_next(2)
    interrupt.join(LIMIT)
    basin.drain()
    source.on_next(3)
    basin.drain()
    assert basin.messages == [0, 1, 3]
