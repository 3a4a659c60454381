"""What tests of traces and metrics share: a pipeline's spans and measurements, kept in memory."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext
from pipeline_helpers import until

from rxpipe.otel import OpenTelemetry

Point = tuple[tuple[str, Any], ...]


class Telemetry:
    """A listener, and what it has told of.

    Attributes:
        listener: To be given to pipelines.
        tracer: Makes the test's own spans.
        tracer_provider: Makes spans of others, too.
        meter_provider: Collects measurements.
    """

    def __init__(self, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = provider.get_tracer("test")
        self.listener = OpenTelemetry(tracer_provider=provider, meter_provider=self.meter_provider, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Spans that have ended, in the order in which they started."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str, **attributes: Any) -> list[ReadableSpan]:
        """Those of a name, and with some attributes: of ``id``, ``attempt`` or ``status``."""
        wanted = {_NAMES[key]: value for key, value in attributes.items()}
        return [span for span in self.spans if span.name == name and wanted.items() <= told(span).items()]

    def only(self, name: str, **attributes: Any) -> ReadableSpan:
        """The one of these."""
        (span,) = self.named(name, **attributes)
        return span

    def children(self, parent: ReadableSpan | None) -> list[ReadableSpan]:
        """The spans below one, or those below none."""
        span_id = None if parent is None else identity(parent)
        return [span for span in self.spans if (span.parent.span_id if span.parent else None) == span_id]

    def tree(self, parent: ReadableSpan | None = None) -> list[Any]:
        """The names of spans, each followed by the list of those below it, if there are any."""
        names: list[Any] = []
        for span in self.children(parent):
            names += [span.name, below] if (below := self.tree(span)) else [span.name]
        return names

    def measured(self, name: str, part: str = "value") -> Counter[Point]:
        """The values of a metric, or of a histogram another part, by their attributes."""
        data = self._reader.get_metrics_data()
        metrics: list[Any] = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        points = [point for metric in metrics for point in metric.data.data_points]
        return Counter({tuple(sorted(point.attributes.items())): getattr(point, part) for point in points})

    def assert_all_over(self) -> None:
        """Nothing is kept of what has ended, and every span below another one has it among those that ended."""
        until(lambda: not self.listener.items and not len(self.listener.metrics.runs))  # on whichever thread
        ended = {identity(span) for span in self.spans}
        assert all(span.parent is None or span.parent.span_id in ended for span in self.spans)


_NAMES = {
    "id": "rxpipe.item.id",
    "attempt": "rxpipe.call.attempt",
    "status": "rxpipe.call.status",
    "ended": "rxpipe.item.status",
}


def told(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes."""
    return dict(span.attributes or {})


def identity(span: ReadableSpan, *, of: Literal["span_id", "trace_id"] = "span_id") -> int:
    """A span's ID, or that of its trace."""
    context: SpanContext | None = span.context
    assert context is not None
    return context.span_id if of == "span_id" else context.trace_id


def status(span: ReadableSpan) -> tuple[str, str | None]:
    """A span's status, and its description."""
    return span.status.status_code.name, span.status.description
