"""Prints the log of an item, and its way through a pipeline as a tree of spans.

In a service, set up tracing and logging once, with the exporter for OTLP: see docs/observability.md.
"""

from __future__ import annotations

import sys

import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rxpipe import Pipeline, Retry, Stage, Usage, record_usage
from rxpipe.logs import Logging
from rxpipe.otel import OpenTelemetry

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stdout))

tracer = trace.get_tracer("example")
refusals = [ConnectionError("the server is restarting")]


async def generate(question_id: str) -> str:
    with tracer.start_as_current_span("POST /v1/chat"):  # as an instrumented HTTP client does
        record_usage(Usage(prompt_tokens=12, completion_tokens=34))
    return f"What is {question_id}?"


def grade(question: str) -> float:
    if refusals:
        raise refusals.pop()
    return float(len(question))


def show(spans: list[ReadableSpan], parent: int | None = None, depth: int = 0) -> None:
    """Prints the spans below `parent`."""
    for span in spans:
        if (span.parent.span_id if span.parent else None) == parent:
            attributes = {key: value for key, value in (span.attributes or {}).items() if "id" not in key}
            print("  " * depth + span.name, attributes)
            show(spans, span.context.span_id if span.context else 0, depth + 1)


pipeline = Pipeline(
    Stage("generation", generate),
    Stage("grading", grade, retry=Retry(max_attempts=3, initial=0.01)),
    listeners=[OpenTelemetry(), Logging()],
)
with tracer.start_as_current_span("nightly"):
    pipeline.run(["q-1"])
show(sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0))
