"""The errors of rxpipe, below one root.

::

    RxPipeError
    ├── ConfigError         a config or an argument that cannot be used
    │   └── RecordChanged   a record has another value than the run knows, and that is to be an error
    ├── SinkError           the database, or the file, could not be opened, or stayed away too long
    │   └── StoreError      the run store cannot be used: by another process, of a newer rxpipe
    │       ├── StagesChanged   the stages are not those that the run began with
    │       └── OtherPipeline   a table or a file of rows, or a run, belongs to another pipeline
    ├── CheckpointError     what a stage returned cannot be kept, or not be read again
    ├── WorkerLost          an item was on its way when its workers died, again and again
    ├── LeaseLost           another worker has taken the item over
    │   └── HandedOver      its children are in several hands, so the store waits for them
    ├── ItemCancelled       whoever submitted the item has cancelled it
    ├── Overloaded          an open pipeline is full, and the ID was not to wait
    ├── PipelineClosed      an open pipeline takes no more, or has failed
    ├── StopRun             raised by a stage's function: stop the run, and give the item back
    │   ├── BudgetSpent     another call might cost more than the run may
    │   ├── ExecutorLost    no process or cluster can be reached to make calls (``rxpipe/executors``)
    │   └── ProviderUnusable    a wrong key, no quota, no such model (``rxpipe/llm``)
    ├── StageTimeout        a call ran longer than its stage allows (also a TimeoutError)
    ├── StageStalled        every slot of a stage is taken by calls that do not return
    ├── WrongResult         a function returned what its stage cannot use: one value for many (also a TypeError)
    ├── CallFailed          a function raised something that is not an Exception
    ├── CallKilled          the processes that ran a call ended in the midst of it (``rxpipe/executors``)
    ├── WrongInput          a shipped stage got a value that it cannot use (``rxpipe/questions``)
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
    WrongResult,
)

_Reduced = tuple[type, tuple[float, float], dict[str, object]]  # what pickle makes an error from

__all__ = [
    "BudgetSpent",
    "BufferOverflow",
    "CallFailed",
    "CheckpointError",
    "CompletionTimeout",
    "ConfigError",
    "HandedOver",
    "ItemCancelled",
    "LeaseLost",
    "OtherPipeline",
    "Overloaded",
    "PipelineClosed",
    "RecordChanged",
    "RxPipeError",
    "SinkError",
    "StageStalled",
    "StageTimeout",
    "StagesChanged",
    "StopRun",
    "StoreError",
    "WorkerLost",
    "WrongResult",
]


class ConfigError(RxPipeError):
    """A config, an argument or an ID cannot be used. Names the file, the key, the value and what is allowed."""


class RecordChanged(ConfigError):
    """A record has another value than the run knows, and ``RunStore(on_change="fail")`` makes that an error.

    Attributes:
        id: The record's ID.
    """

    def __init__(self, id: int | str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        """Which one."""
        return f"source: the record {self.id!r} has another value than before"


class SinkError(RxPipeError):
    """The database, or the file, cannot be opened or written, or has not answered for too long."""


class StoreError(SinkError):
    """The run store cannot be used: another process uses it, or a newer rxpipe made it."""


class StagesChanged(StoreError):
    """The run began with other stages. Says what has changed, and what going on would do."""


class OtherPipeline(StoreError):
    """A table or a file of rows, or a run, belongs to another pipeline; says which, and what to do."""


class CheckpointError(RxPipeError):
    """A stage's result cannot be stored as a checkpoint, or a checkpoint cannot be read."""


class WorkerLost(RxPipeError):
    """Several workers died while they worked on this item, the last of them on this item alone."""


class StopRun(RxPipeError):
    """Raise this in a stage's function when no further call can succeed.

    The run takes no more IDs, the stage makes no more calls, and items elsewhere finish. Items whose call raises this,
    or is not made, end as cancelled, not failed. With a store, the next run takes them up at the same stage. The run
    fails with the first such error.
    """

    is_final = True


class BudgetSpent(StopRun):
    """The run has spent its ``max_cost``, or the next call would probably exceed it; see ``Pipeline(max_cost=...)``.

    Attributes:
        limit: What the run may cost.
        spent: What the run had spent when a call was refused. Calls that were running then add to it.
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
    """This worker seemed dead, and another one took the item over. What this worker made of it is discarded."""


class HandedOver(LeaseLost):
    """Some children of an item are in the hands of other workers, or wait in the store: so is the item now."""


class ItemCancelled(RxPipeError):
    """Whoever submitted the item has cancelled it; see ``Submission.cancel``."""

    is_final = True

    def __init__(self, text: str = "cancelled by whoever submitted it") -> None:
        super().__init__(text)


class PipelineClosed(RxPipeError):
    """The open pipeline takes no more IDs, or failed before the item had ended: then ``__cause__`` says why."""

    def __init__(self, text: str = "the pipeline is closed") -> None:
        super().__init__(text)


class Overloaded(RxPipeError):
    """The open pipeline is full, and ``submit_nowait`` does not wait.

    Attributes:
        held: How many IDs the pipeline holds.
        retry_after: Seconds until there is probably room again, judged by the pace so far.
    """

    def __init__(self, held: int, retry_after: float) -> None:
        super().__init__(f"the pipeline is full: it has {held} IDs; try again in {retry_after:.0f} s")
        self.held = held
        self.retry_after = retry_after

    def __reduce__(self) -> _Reduced:
        return type(self), (self.held, self.retry_after), self.__dict__
