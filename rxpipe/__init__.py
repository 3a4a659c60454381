"""rxpipe: reactive dataflow pipelines on RxPY.

What is where:

- ``operators/``: the Rx operators; each works alone in any chain
- ``pipeline/``: the public classes of pipelines, the interfaces of sinks, stores and listeners, and the code that runs
  a pipeline
- ``database/``: the sink for databases; ``files/``: the sink for a file
- ``store/``: the run store, which continues runs after a crash
- ``executors/``: process pools and clusters for stages
- ``faststream/``: messages of brokers; ``otel/``, ``logs.py``: traces, metrics and logs
- ``llm/``: calls to language models
- ``questions/``: stages that ship with rxpipe
- ``config/``: builds a pipeline and its source from a YAML file
- ``devtools/``: a server that answers like a language model; a comparison of the strategies
- ``cli/``: the command line; ``screen/``: the live screen of a run on a terminal
- ``identity/``: the names and fingerprints of pipelines and stages
- ``insight/``: advice from a run's numbers; ``foresight/``: forecasts of a run's time and cost
- ``errors.py``: the tree of errors; ``extras.py``: install commands for optional packages
- ``secret_values.py``: secrets from environment variables, or from files that the variables name
- ``log_values.py``: user values in log lines

Imports point one way: ``cli``, ``devtools`` -> ``config`` -> stores, sinks, executors, integrations -> ``pipeline`` ->
``operators`` -> reactivex.

Each name is imported on first use. Importing all names takes a third of a second, mostly for SQLAlchemy. That is too
long for ``rxpipe --help``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rxpipe import operators
    from rxpipe.config import load_pipeline, run_config
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
    from rxpipe.files import JsonLinesSink
    from rxpipe.foresight import Forecast, recorded, simulate
    from rxpipe.insight.snapshot import Snapshot
    from rxpipe.operators import (
        AdaptiveConcurrency,
        Batch,
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
    from rxpipe.pipeline.children import Children
    from rxpipe.pipeline.decisions import Drop, SendBack, feedback
    from rxpipe.pipeline.listener import Listener
    from rxpipe.pipeline.open import Event, Health, OpenPipeline, Submission
    from rxpipe.pipeline.outcome import CommonError, Outcome, Report, StageReport
    from rxpipe.pipeline.pipeline import Pipeline
    from rxpipe.pipeline.ports import Sink
    from rxpipe.pipeline.record import Record, content_id, from_records
    from rxpipe.pipeline.run.run import Run
    from rxpipe.pipeline.stage import Stage
    from rxpipe.pipeline.views import ItemView, RunView, StageView
    from rxpipe.store import RunStore, Submitted, submit

__all__ = [
    "AdaptiveConcurrency",
    "Batch",
    "Children",
    "CommonError",
    "ConfigError",
    "DatabaseSink",
    "Drop",
    "Event",
    "Forecast",
    "Health",
    "ItemView",
    "JsonLinesSink",
    "Listener",
    "OpenPipeline",
    "Outcome",
    "Overloaded",
    "Pipeline",
    "PipelineClosed",
    "RateLimiter",
    "Record",
    "Report",
    "Retry",
    "Run",
    "RunStore",
    "RunView",
    "RxPipeError",
    "SendBack",
    "Sink",
    "SinkError",
    "Snapshot",
    "Stage",
    "StageReport",
    "StageStalled",
    "StageTimeout",
    "StageView",
    "StopRun",
    "Submission",
    "Submitted",
    "Usage",
    "content_id",
    "deadline",
    "feedback",
    "from_async_iterable",
    "from_iterable",
    "from_records",
    "load_pipeline",
    "operators",
    "record_usage",
    "recorded",
    "run_config",
    "simulate",
    "submit",
    "to_async_iterable",
    "will_retry",
]

_NAMES = {
    "config": ("load_pipeline", "run_config"),
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
    "files": ("JsonLinesSink",),
    "foresight": ("Forecast", "recorded", "simulate"),
    "insight.snapshot": ("Snapshot",),
    "operators": (
        "AdaptiveConcurrency",
        "Batch",
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
    "pipeline.children": ("Children",),
    "pipeline.decisions": ("Drop", "SendBack", "feedback"),
    "pipeline.listener": ("Listener",),
    "pipeline.open": ("Event", "Health", "OpenPipeline", "Submission"),
    "pipeline.outcome": ("CommonError", "Outcome", "Report", "StageReport"),
    "pipeline.pipeline": ("Pipeline",),
    "pipeline.ports": ("Sink",),
    "pipeline.record": ("Record", "content_id", "from_records"),
    "pipeline.run.run": ("Run",),
    "pipeline.stage": ("Stage",),
    "pipeline.views": ("ItemView", "RunView", "StageView"),
    "store": ("RunStore", "Submitted", "submit"),
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
