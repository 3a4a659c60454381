"""The base of all operators with a queue and of all sources: one small state machine per subscription.

Arriving items, finished calls and timers only post messages to the machine's mailbox. Handlers change the state. Then
``advance`` acts on the state: it hands results downstream while the gate there is open, starts calls, and completes
when no work is left. The machine announces its own gate to its source.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, TypeVar

from reactivex.abc import DisposableBase, ObservableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import CurrentThreadScheduler

from ..errors import CallFailed, describe
from .clock import guarded, show_unhandled
from .dispatchers import Dispatcher, running_loop_dispatcher
from .gate import Gate, announced_gate, announcing
from .mailbox import mailbox

_DEEPEST = 110  # operators in a chain; each takes about nine of the 1,000 frames of Python's stack

A = TypeVar("A")
B = TypeVar("B")


class Producer(Generic[B], DisposableBase):
    """The emitting half of a machine: it notifies the observer downstream.

    Attributes:
        over: True if the machine has ended or was disposed. Nothing is emitted from then on.
        post: Calls a handler in the mailbox. Handlers never overlap. From any thread.
    """

    def __init__(self, observer: ObserverBase[B], dispatcher: Dispatcher | None = None) -> None:
        self._dispatcher = dispatcher = dispatcher or running_loop_dispatcher()
        self.over = False
        self._freed = False
        self._observer = observer
        self._downstream = announced_gate()
        if self._downstream is not None:
            self._downstream.take()
        inbox = mailbox(self.advance, self._broken, dispatcher)
        self.post = inbox.post
        self._post_last = inbox.post_last
        self._reserved = False
        self._woken = self.wake  # one object, so that a gate can tell that it has it already

    @abstractmethod
    def advance(self) -> None:
        """Act on the state that the messages left. Not called once the machine is over. Runs in the mailbox."""

    @abstractmethod
    def free(self) -> None:
        """Cancel timers and calls, and forget values, since the machine is over. Runs in the mailbox."""

    def wake(self) -> None:
        """Run ``advance`` soon."""
        self.post(_nothing)

    def may_emit(self) -> bool:
        """Returns True if there is room downstream for one item. If not, ``advance`` runs again when there may be room.

        After True, a place may be reserved: ``emit`` or ``give_back_place`` must follow.
        """
        gate = self._downstream
        if gate is None:
            return True
        if gate.shared:
            self._reserved = gate.enter(self._woken)
            return self._reserved
        return gate.admitted - gate.released < gate.capacity or gate.wait(self._woken)

    def emit(self, value: B) -> None:
        """Hand a value downstream.

        If the observer raises, the sequence ends with that error, and no call is tried again.
        """
        try:
            self._observer.on_next(value)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the sequence must end, not hang
            self.end(as_exception(error))
        if self._reserved:
            self.give_back_place()

    def give_back_place(self) -> None:
        """Give back the place that ``may_emit`` has reserved, if any: after an emission, or instead of an emission."""
        if self._reserved and self._downstream is not None:
            self._reserved = False
            self._downstream.leave()

    def end(self, error: Exception | None = None) -> None:
        """End the sequence, once: with an error, or by completion."""
        if self.over:
            return
        guarded(self.dispose)
        try:
            if error is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(error)
        except BaseException as unhandled:  # noqa: BLE001 - as from reactivex's default on_error: nobody takes it
            show_unhandled(unhandled)

    def dispose(self) -> None:
        """Stop at once, from any thread. Nothing more is emitted, and running calls are cancelled."""
        if not self.over:
            self.over = True
            self._post_last(self._free_once)

    def _free_once(self) -> None:
        if not self._freed:  # two threads may have disposed the machine at the same moment
            self._freed = True
            try:
                self.free()
            finally:
                if self._dispatcher is not None:
                    self._dispatcher.close()

    def _broken(self, error: BaseException) -> None:
        """A handler raised, for example because a scheduler or a loop is closed. End, rather than hang."""
        if self.over:
            show_unhandled(error)
        else:
            self.end(as_exception(error))


class Machine(Producer[B], ObserverBase[A], Generic[A, B]):
    """One subscription to an operator with a queue. The machine observes its source, too.

    Attributes:
        gate: The machine's own gate, which counts the items that it holds.
        source_done: True if no more items come. Subclasses set it when the source fails or is stopped, too.
    """

    def __init__(
        self, observer: ObserverBase[B], capacity: float, dispatcher: Dispatcher | None = None, *, slack: int = 1
    ) -> None:
        super().__init__(observer, dispatcher)
        self.gate = Gate(capacity, slack, depth=1 if self._downstream is None else self._downstream.depth + 1)
        self.source_done = False
        self._upstream = SingleAssignmentDisposable()

    def subscribe_to(self, source: ObservableBase[A], scheduler: SchedulerBase | None) -> DisposableBase:
        """Subscribe to the source, and announce the gate."""
        if self.gate.depth > _DEEPEST:
            # From the trampoline: at the caller, the stack has no room for an error to get through.
            CurrentThreadScheduler.singleton().schedule(self._too_deep)
            return self
        try:
            with announcing(self.gate):
                self._upstream.disposable = source.subscribe(self, scheduler=scheduler)
        except BaseException:
            self.dispose()
            raise
        return self

    def _too_deep(self, scheduler: SchedulerBase, state: object = None) -> None:
        self.on_error(
            ValueError(f"a chain may have at most {_DEEPEST} operators with a queue, such as stages, not more")
        )

    @abstractmethod
    def arrive(self, value: A) -> None:
        """Take an item. Call ``gate.release()`` when the item is no longer held. Runs in the mailbox."""

    def source_failed(self, error: Exception) -> None:
        """The source ended with an error. Runs in the mailbox."""
        self.end(error)

    def source_completed(self) -> None:
        """The source completed. Runs in the mailbox."""
        self.source_done = True

    def on_next(self, value: A) -> None:
        """Take over an item from upstream. On any thread."""
        self.gate.admitted += 1
        self.post(self.arrive, value)

    def on_error(self, error: Exception) -> None:
        """Note the source's failure."""
        self.post(self.source_failed, error)

    def on_completed(self) -> None:
        """Note the source's completion."""
        self.post(self.source_completed)

    def dispose(self) -> None:
        """Stop the machine and its source at once."""
        try:
            super().dispose()
        finally:
            self._upstream.dispose()


def _nothing() -> None:
    pass


def as_exception(error: BaseException) -> Exception:
    """Returns the error as Rx carries it: an error that is no ``Exception`` is wrapped."""
    if isinstance(error, Exception):
        return error
    wrapped = CallFailed(describe(error))
    wrapped.__cause__ = error
    return wrapped
