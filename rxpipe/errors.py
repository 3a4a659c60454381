"""The errors of rxpipe, below one root.

::

    RxPipeError
    ├── ConfigError         a config or an argument that cannot be used
    ├── SinkError           the database could not be opened, or stayed away too long
    │   └── StoreError      the run store cannot be used: by another process, of a newer rxpipe
    │       └── StagesChanged   the stages are not those that the run began with
    ├── CheckpointError     what a stage returned cannot be kept, or not be read again
    ├── WorkerLost          an item was on its way when its workers died, again and again
    ├── LeaseLost           another worker has taken the item over
    ├── ItemCancelled       whoever submitted the item has cancelled it
    ├── Overloaded          an open pipeline is full, and the ID was not to wait
    ├── PipelineClosed      an open pipeline takes no more, or has failed
    ├── StopRun             raised by a stage's function: stop the run, and give the item back
    │   ├── BudgetSpent     another call might cost more than the run may
    │   ├── ExecutorLost    no process or cluster can be reached to make calls (``rxpipe/executors``)
    │   └── ProviderUnusable    a wrong key, no quota, no such model (``rxpipe/llm``)
    ├── StageTimeout        a call ran longer than its stage allows (also a TimeoutError)
    ├── StageStalled        every slot of a stage is taken by calls that do not return
    ├── CallFailed          a function raised something that is not an Exception
    ├── CallKilled          the processes that ran a call ended in the midst of it (``rxpipe/executors``)
    ├── LLMError            a call to a language model failed; of which kinds, is in ``rxpipe/llm/errors.py``
    ├── RowRefused          the database refuses an item's row (``rxpipe/database``)
    ├── CompletionTimeout   ops.timeout: a sequence did not complete in time (also a TimeoutError)
    └── BufferOverflow      ops.overflow: a source that cannot pause outran its buffer
"""

from __future__ import annotations

from rxpipe.operators.errors import (
    BufferOverflow,
    CallFailed,
    CompletionTimeout,
    RxPipeError,
    StageStalled,
    StageTimeout,
)

_Reduced = tuple[type, tuple[float, float], dict[str, object]]  # what pickle makes an error from

__all__ = [
    "BudgetSpent",
    "BufferOverflow",
    "CallFailed",
    "CheckpointError",
    "CompletionTimeout",
    "ConfigError",
    "ItemCancelled",
    "LeaseLost",
    "Overloaded",
    "PipelineClosed",
    "RxPipeError",
    "SinkError",
    "StageStalled",
    "StageTimeout",
    "StagesChanged",
    "StopRun",
    "StoreError",
    "WorkerLost",
]


class ConfigError(RxPipeError):
    """What cannot be used: of a config, names the file, the key, the value given and what is allowed; or an ID."""


class SinkError(RxPipeError):
    """The sink cannot take rows: its database cannot be opened, or was away for longer than it may be."""


class StoreError(SinkError):
    """The run store cannot be used: another process has it, or a newer rxpipe made it."""


class StagesChanged(StoreError):
    """The stages are not those that the run began with; says what changed, and what continuing would do."""


class CheckpointError(RxPipeError):
    """What a stage returned cannot be kept as a checkpoint, or one cannot be read."""


class WorkerLost(RxPipeError):
    """An item was on its way when several workers died, the last of them with nothing else in hand."""


class StopRun(RxPipeError):
    """Raised by a stage's function when there is no use in going on, for this item or for others.

    No more IDs are taken, its stage makes no more calls, and what is on its way otherwise finishes. The items whose
    calls raise it, or are not made, are cancelled, not failed: with a store they are the next run's, from the same
    stage on. The run fails with the first such error.
    """

    is_permanent = True


class BudgetSpent(StopRun):
    """What a run may cost has been spent, or the next call would probably exceed it: see ``Pipeline(max_cost=...)``.

    Attributes:
        limit: What it may cost.
        spent: What it had cost when a call was refused; those that were running then came to it.
    """

    def __init__(self, limit: float, spent: float) -> None:
        super().__init__(
            f"max_cost is {limit:g}, {spent:.4g} were spent, and another call might exceed it: "
            "the same again with a higher one goes on"
        )
        self.limit = limit
        self.spent = spent

    def __reduce__(self) -> _Reduced:
        return type(self), (self.limit, self.spent), self.__dict__


class LeaseLost(RxPipeError):
    """The worker was taken for dead, and another one has taken the item over; what was made of it is discarded."""


class ItemCancelled(RxPipeError):
    """An item was cancelled by whoever submitted it; see ``Submission.cancel``."""

    is_final = True

    def __init__(self, text: str = "cancelled by whoever submitted it") -> None:
        super().__init__(text)


class PipelineClosed(RxPipeError):
    """An open pipeline takes no more IDs, or failed before an item had ended; then ``__cause__`` is why."""

    def __init__(self, text: str = "the pipeline is closed") -> None:
        super().__init__(text)


class Overloaded(RxPipeError):
    """An open pipeline is full, and the ID was not to wait.

    Attributes:
        held: How many IDs it has.
        retry_after: Seconds until there is probably room again, as things have gone so far.
    """

    def __init__(self, held: int, retry_after: float) -> None:
        super().__init__(f"the pipeline is full: it has {held} IDs; try again in {retry_after:.0f} s")
        self.held = held
        self.retry_after = retry_after

    def __reduce__(self) -> _Reduced:
        return type(self), (self.held, self.retry_after), self.__dict__
