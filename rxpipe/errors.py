"""The errors of rxpipe, below one root.

::

    RxPipeError
    ├── ConfigError         a config or an argument cannot be used
    │   └── RecordChanged   a record has another value than the run knows, and the store's ``on_change`` is ``fail``
    ├── SinkError           the database or the file cannot be opened, or stayed away too long
    │   └── StoreError      the run store cannot be used: another process uses it, or a newer rxpipe made it
    │       ├── StagesChanged   the stages are not those that the run began with
    │       └── OtherPipeline   a table of rows, a file of rows or a run belongs to another pipeline
    ├── CheckpointError     a stage's result cannot be kept, or cannot be read again
    ├── WorkerLost          several workers died while they worked on the item
    ├── LeaseLost           another worker has taken the item over
    │   └── HandedOver      the item's children belong to several workers, so the store waits for them
    ├── ItemCancelled       the submitter has cancelled the item
    ├── Overloaded          an open pipeline is full, and ``submit_nowait`` does not wait
    ├── PipelineClosed      an open pipeline takes no more IDs, or has failed
    ├── StopRun             raised by a stage's function: stop the run, and give the item back
    │   ├── BudgetSpent     another call might exceed the run's ``max_cost``
    │   ├── ExecutorLost    no process or cluster can be reached to make calls (``rxpipe/executors``)
    │   └── ProviderUnusable    a wrong key, no quota, no such model (``rxpipe/llm``)
    ├── StageTimeout        a call ran longer than its stage allows (also a TimeoutError)
    ├── StageStalled        calls that do not return hold all slots of a stage
    ├── WrongResult         a function returned a value of the wrong kind for its stage (also a TypeError)
    ├── CallFailed          a function raised something that is not an Exception
    ├── CallKilled          the process that ran a call ended during the call (``rxpipe/executors``)
    ├── WrongInput          a shipped stage got a value that it cannot use (``rxpipe/questions``)
    ├── LLMError            a call to a language model failed; ``rxpipe/llm/errors.py`` has the kinds
    ├── RowRefused          the database refuses an item's row (``rxpipe/database``)
    ├── CompletionTimeout   ops.timeout: a sequence did not complete in time (also a TimeoutError)
    └── BufferOverflow      ops.overflow: a source that cannot pause filled its buffer
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

_Reduced = tuple[type, tuple[float, float], dict[str, object]]  # the arguments from which pickle makes an error again

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
    """A config, an argument or an ID cannot be used.

    The text names the file, the key, the value and the allowed values.
    """


class RecordChanged(ConfigError):
    """A record has another value than the run knows, and ``RunStore(on_change="fail")`` makes that an error.

    Attributes:
        id: The record's ID.
    """

    def __init__(self, id: int | str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        """Returns a text that names the record."""
        return f"source: the record {self.id!r} has another value than before"


class SinkError(RxPipeError):
    """The database or the file cannot be opened or written, or has not answered for too long."""


class StoreError(SinkError):
    """The run store cannot be used: another process uses it, or a newer rxpipe made it."""


class StagesChanged(StoreError):
    """The run began with other stages. The text says which stages changed, and what continuing the run would do."""


class OtherPipeline(StoreError):
    """A table of rows, a file of rows or a run belongs to another pipeline. The text names it, and says what to do."""


class CheckpointError(RxPipeError):
    """A stage's result cannot be stored as a checkpoint, or a checkpoint cannot be read."""


class WorkerLost(RxPipeError):
    """Several workers died while they worked on this item. The last of them worked on this item alone."""


class StopRun(RxPipeError):
    """Raise this in a stage's function when no further call can succeed.

    - The run takes no more IDs, and the stage makes no more calls. Items in other stages finish.
    - Items whose call raises this, or is no longer made, end as ``cancelled``, not as ``failed``.
    - With a store, the next run continues these items at the same stage.
    - The run fails with the first such error.
    """

    is_final = True


class BudgetSpent(StopRun):
    """The run has spent its ``max_cost``, or the next call would probably exceed it; see ``Pipeline(max_cost=...)``.

    Attributes:
        limit: The run's ``max_cost``.
        spent: The cost so far when a call was refused. Calls that were still running may add to it.
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
    """This worker seemed dead, and another worker took the item over. This worker's result is discarded."""


class HandedOver(LeaseLost):
    """Some children of the item belong to other workers, or wait in the store.

    So this worker hands the item over to the store.
    """


class ItemCancelled(RxPipeError):
    """The submitter has cancelled the item; see ``Submission.cancel``."""

    is_final = True

    def __init__(self, text: str = "cancelled by whoever submitted it") -> None:
        super().__init__(text)


class PipelineClosed(RxPipeError):
    """The open pipeline takes no more IDs, or failed before the item ended.

    If the pipeline failed, ``__cause__`` is the reason.
    """

    def __init__(self, text: str = "the pipeline is closed") -> None:
        super().__init__(text)


class Overloaded(RxPipeError):
    """The open pipeline is full, and ``submit_nowait`` does not wait.

    Attributes:
        held: Number of IDs that the pipeline holds.
        retry_after: Seconds until there is probably room again, estimated from the pace so far.
    """

    def __init__(self, held: int, retry_after: float) -> None:
        super().__init__(f"the pipeline is full: it has {held} IDs; try again in {retry_after:.0f} s")
        self.held = held
        self.retry_after = retry_after

    def __reduce__(self) -> _Reduced:
        return type(self), (self.held, self.retry_after), self.__dict__
