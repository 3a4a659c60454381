"""rxpipe: reactive dataflow pipelines on RxPY.

What is where:

- ``operators/``: the Rx operators, which work alone in any chain
- ``pipeline.py``: ``Pipeline``, of ``stage.py``; composed in ``strategies.py``, run by ``run.py`` and ``driving.py``;
  IDs from ``source.py``, items (``item.py``) between the two ``ends.py``
- ``outcome.py``: how items and runs end
- ``open_pipeline/``: pipelines that stay open for IDs that are submitted one by one
- ``faststream/``: messages of brokers; ``executors/``: process pools and clusters for stages
- ``listener.py``: who is told what happens, such as ``otel/`` and ``logs.py``; ``inside.py``: what these set up around
  the functions of stages
- ``database/``: the sink
- ``store/``: the run store, with which runs go on after a crash
- ``config/``: from a YAML file to a pipeline and its IDs
- ``llm/``: calls to language models; ``fake_llm/``: a server to test them with
- ``questions/``: stages that ship with rxpipe
- ``cli/``: the command line
- ``errors.py``: the tree of errors

Each name is imported when it is first asked for: all of them take a third of a second, mostly SQLAlchemy's, which is
too long for ``rxpipe --help``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rxpipe import operators
    from rxpipe.database import DatabaseSink
    from rxpipe.errors import (
        ConfigError,
        Overloaded,
        PipelineClosed,
        RxPipeError,
        SinkError,
        StageStalled,
        StageTimeout,
        StopRun,
    )
    from rxpipe.listener import Listener
    from rxpipe.open_pipeline import Event, Health, OpenPipeline, Submission
    from rxpipe.operators import (
        AdaptiveConcurrency,
        RateLimiter,
        Retry,
        Usage,
        deadline,
        from_async_iterable,
        from_iterable,
        record_usage,
        to_async_iterable,
        will_retry,
    )
    from rxpipe.outcome import Outcome, Report, StageReport
    from rxpipe.pipeline import Pipeline
    from rxpipe.stage import Stage
    from rxpipe.store import RunStore

__all__ = [
    "AdaptiveConcurrency",
    "ConfigError",
    "DatabaseSink",
    "Event",
    "Health",
    "Listener",
    "OpenPipeline",
    "Outcome",
    "Overloaded",
    "Pipeline",
    "PipelineClosed",
    "RateLimiter",
    "Report",
    "Retry",
    "RunStore",
    "RxPipeError",
    "SinkError",
    "Stage",
    "StageReport",
    "StageStalled",
    "StageTimeout",
    "StopRun",
    "Submission",
    "Usage",
    "deadline",
    "from_async_iterable",
    "from_iterable",
    "operators",
    "record_usage",
    "to_async_iterable",
    "will_retry",
]

_NAMES = {
    "database": ("DatabaseSink",),
    "errors": (
        "ConfigError",
        "Overloaded",
        "PipelineClosed",
        "RxPipeError",
        "SinkError",
        "StageStalled",
        "StageTimeout",
        "StopRun",
    ),
    "listener": ("Listener",),
    "open_pipeline": ("Event", "Health", "OpenPipeline", "Submission"),
    "operators": (
        "AdaptiveConcurrency",
        "RateLimiter",
        "Retry",
        "Usage",
        "deadline",
        "from_async_iterable",
        "from_iterable",
        "record_usage",
        "to_async_iterable",
        "will_retry",
    ),
    "outcome": ("Outcome", "Report", "StageReport"),
    "pipeline": ("Pipeline",),
    "stage": ("Stage",),
    "store": ("RunStore",),
}


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name == module:
            return import_module(f"rxpipe.{module}")
        if name in names:
            value = globals()[name] = getattr(import_module(f"rxpipe.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
