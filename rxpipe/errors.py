"""The errors of rxpipe, below one root.

::

    RxPipeError
    ├── ConfigError         a config or an argument that cannot be used
    ├── SinkError           the database could not be opened, or stayed away too long
    ├── StageTimeout        a call ran longer than its stage allows (also a TimeoutError)
    ├── StageStalled        every slot of a stage is taken by calls that do not return
    ├── CallFailed          a function raised something that is not an Exception
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

__all__ = [
    "BufferOverflow",
    "CallFailed",
    "CompletionTimeout",
    "ConfigError",
    "RxPipeError",
    "SinkError",
    "StageStalled",
    "StageTimeout",
]


class ConfigError(RxPipeError):
    """What cannot be used: of a config, names the file, the key, the value given and what is allowed; or an ID."""


class SinkError(RxPipeError):
    """The sink cannot take rows: its database cannot be opened, or was away for longer than it may be."""
