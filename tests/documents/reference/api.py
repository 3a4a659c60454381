"""Pages of the API, on which mkdocstrings puts signatures and docstrings when the site is built."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from .markdown import head, paragraph, table


class Topic(NamedTuple):
    """A page.

    Attributes:
        title: Its heading.
        text: What its names are for.
        names: Each by the shortest path that it is imported by.
    """

    title: str
    text: str
    names: tuple[str, ...]


def _of(module: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names)


TOPICS = {
    "pipeline": Topic(
        "Pipelines",
        "Build a pipeline of stages, run it, and read what became of its items.",
        _of(
            "rxpipe",
            *("Pipeline", "Run", "Report", "StageReport", "CommonError", "Outcome", "Record", "from_records"),
            *("content_id", "Children", "Drop", "SendBack", "feedback", "OpenPipeline", "Submission", "Event"),
            *("Health", "Listener", "ItemView", "RunView", "StageView"),
        ),
    ),
    "stages": Topic(
        "Stages",
        "What a stage calls, how often, and where.",
        (
            *_of("rxpipe", "Stage", "Retry", "RateLimiter", "AdaptiveConcurrency", "Batch", "Usage"),
            *_of("rxpipe", "record_usage", "deadline", "will_retry"),
            *_of("rxpipe.executors", "Processes", "DaskCluster", "ExecutorLost", "CallKilled"),
        ),
    ),
    "operators": Topic(
        "Operators",
        "Each works alone in any chain of RxPY, on values of any type. "
        "Import them by `from rxpipe import operators as ops`.",
        (
            *_of("rxpipe", "from_iterable", "from_async_iterable", "to_async_iterable"),
            *_of("rxpipe.operators", "stage", "batch", "unbatch", "expand", "overflow", "rate_limit", "retry"),
            *_of("rxpipe.operators", "timeout", "Failure", "Limiter", "OverflowPolicy"),
        ),
    ),
    "store": Topic(
        "The run store",
        "What makes a run go on after a crash.",
        ("rxpipe.RunStore", *_of("rxpipe.store", "submit", "Submitted")),
    ),
    "sink": Topic(
        "Sinks",
        "Where the results go.",
        (
            *_of("rxpipe", "DatabaseSink", "JsonLinesSink", "Sink"),
            *_of("rxpipe.database", "default_table", "RowRefused"),
        ),
    ),
    "config": Topic(
        "Configs in Python",
        "Load a config file, or run it, from Python. Its keys are in [Config keys](../config.md).",
        (
            *_of("rxpipe", "run_config", "load_pipeline"),
            *_of("rxpipe.config", "load_config", "Config", "StageSettings"),
        ),
    ),
    "llm": Topic(
        "Language models",
        "Calls to language models from your own stages, and checks of what they write.",
        (
            *_of("rxpipe.llm", "Provider", "Prompt", "Reply", "Limits", "Prices", "local_provider", "LLMError"),
            *_of("rxpipe.llm", "RateLimited", "Unavailable", "InvalidOutput", "Refused", "PermanentError"),
            *_of("rxpipe.llm", "ProviderUnusable"),
            *_of("rxpipe.questions.llm", "generate", "generate_several", "check", "answer", "grade"),
            *_of("rxpipe.questions.llm", "Question", "Answered", "Graded"),
            *_of("rxpipe.questions", "distinct", "majority", "samples"),
        ),
    ),
    "insight": Topic("Insight", "What holds a run up, while it runs.", ("rxpipe.Snapshot",)),
    "foresight": Topic(
        "Foresight",
        "What a run takes, and what other settings would change.",
        (
            *_of("rxpipe", "recorded", "simulate", "Forecast"),
            *_of("rxpipe.foresight", "advise", "sweep", "CallRecorder", "Change", "Distribution", "Interval"),
            *_of("rxpipe.foresight", "LimitForecast", "Point", "Recommendation", "RecordedCall", "RecordedRun"),
            *_of("rxpipe.foresight", "StageForecast", "Sweep", "parse_distribution"),
        ),
    ),
    "integrations": Topic(
        "Integrations",
        "Messages of brokers, traces and metrics, and the page of runs in your own app.",
        (
            *_of("rxpipe.faststream", "PipelineConsumer", "Publisher", "Registrator"),
            "rxpipe.otel.OpenTelemetry",
            *_of("rxpipe.web", "app", "LiveRun"),
        ),
    ),
    "errors": Topic(
        "Errors",
        "All errors that rxpipe raises by itself derive from `RxPipeError`.",
        _of(
            "rxpipe",
            *("RxPipeError", "ConfigError", "SinkError", "StageTimeout", "StageStalled", "StopRun", "Overloaded"),
            "PipelineClosed",
        ),
    ),
}

_MEMBERS = {"rxpipe.Run": ("stop", "abort", "snapshot", "snapshots", "standing", "insight", "report", "is_ending")}
"""What users call, where the parts of a pipeline call other methods, too."""


def found(name: str) -> Any:
    """What a name stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def pages() -> dict[str, str]:
    """The text of each page, by its name."""
    return {name: _page(topic) for name, topic in TOPICS.items()}


def _page(topic: Topic) -> str:
    rows = [(f"`{name}`", paragraph(getattr(found(name), "__doc__", None))) for name in topic.names]
    signatures = "\n".join(f"::: {name}\n{_options(name)}" for name in topic.names)
    shown = topic.names[0]
    module = shown.rpartition(".")[0]
    note = (
        "The site shows signatures and details of each name. In a checkout, Python prints them: "
        f"`python -c 'import {module}; help({shown})'`."
    )
    return f"{head(topic.title, topic.text)}\n{note}\n\n{table(['Name', 'What it is'], rows)}\n{signatures}"


def _options(name: str) -> str:
    members = _MEMBERS.get(name)
    return f"    options:\n      members: [{', '.join(members)}]\n" if members else ""
