"""``OpenTelemetry``: makes spans and metrics from a pipeline's events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry import context as contexts
from opentelemetry.metrics import MeterProvider, get_meter_provider
from opentelemetry.trace import TracerProvider, get_tracer

from rxpipe.operators.core.running_call import Usage
from rxpipe.otel import attributes as names
from rxpipe.otel.metrics import Metrics
from rxpipe.otel.spans import Trace, call_status
from rxpipe.pipeline.listener import Listener
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.stage import Stage
from rxpipe.pipeline.views import ItemView, RunView
from rxpipe.pipeline.wrap_call import Undo, inside


class OpenTelemetry(Listener):
    """Makes a span of each item, a span of each call below it, and metrics of each stage.

    ::

        pipeline = Pipeline(Stage("answering", answer), listeners=[OpenTelemetry()])

    Spans are nested like this:

    - While a function runs, the span of its call is the current span. Spans that the function starts, or that an
      instrumented HTTP client starts in it, are below that span.
    - In an open pipeline, the span of an item is below that of the request or message that submitted the item.
      Elsewhere it is below the span that was current when the run was started.
    - The span of a child is below its parent's span.

    You may give it to several pipelines. Arguments and results of functions are never exported; see
    docs/observability.md.

    Attributes:
        items: The trace of each item on its way. An item that ended before its ``taken`` event came has its outcome
            instead.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        error_texts: bool = True,
    ) -> None:
        """Describe the listener; instruments are made when the first run starts.

        Args:
            tracer_provider: Makes spans; the global provider by default.
            meter_provider: Collects metrics. The default is the provider that is the global one when the first run
                starts.
            error_texts: If True, spans of failed items and calls have the error's text and traceback, and spans of
                dropped items have the reason. The reason is an attribute of metrics, too. These texts may quote the
                function's data. If False, spans have the error's type only.
        """
        self.items: dict[ItemView, Trace | Outcome[Any]] = {}
        self._version = _version()
        self._tracer = get_tracer("rxpipe", self._version, tracer_provider)
        self._meter_provider = meter_provider
        self._metrics: Metrics | None = None
        self._making_metrics = threading.Lock()
        self._texts = error_texts

    @property
    def metrics(self) -> Metrics:
        """The instruments, made at the first access."""
        if (metrics := self._metrics) is None:
            with self._making_metrics:
                metrics = self._metrics = self._metrics or Metrics(
                    self._meter_provider or get_meter_provider(), self._version
                )
        return metrics

    def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Returns the stage's function, run with the span of its call as the current span."""
        return inside(stage, call, self._enter)

    def _enter(self, item: ItemView) -> Undo | None:
        trace = self.items.get(item)
        calls = trace.calls[-1:] if isinstance(trace, Trace) else ()
        if not calls:
            return None
        token = contexts.attach(calls[0].context)
        return lambda: contexts.detach(token)

    def run_started(self, run: RunView) -> None:
        """Observe the run's stages."""
        self.metrics.runs.add(run)

    # When a run is disposed of, an item may end on one thread while another thread takes it or begins a call with it.
    # Each step is atomic, and checks afterwards that it was not too late.

    def taken(self, item: ItemView) -> None:
        """Start the item's span. The span of a child is below its parent's."""
        parent = None if item.parent is None else self.items.get(item.parent)
        trace = Trace(self._tracer, item, parent.context if isinstance(parent, Trace) else None)
        outcome = self.items.setdefault(item, trace)
        if not isinstance(outcome, Trace):
            del self.items[item]
            trace.end(outcome, texts=self._texts)

    def call_started(self, item: ItemView, stage: str) -> None:
        """Start the call's span."""
        if isinstance(trace := self.items.get(item), Trace):
            trace.begin(item, stage)
            if item not in self.items:
                self._end_call(trace, None, names.CANCELLED)

    def call_ended(self, item: ItemView, stage: str, error: BaseException | None, *, again: bool) -> None:
        """End the call's span."""
        if isinstance(trace := self.items.get(item), Trace):
            trace.failed_with = error
            self._end_call(trace, error, call_status(error, again=again))

    def used(self, item: ItemView, stage: str, attempt: int, usage: Usage) -> None:
        """Add the usage to the call's span. A call that timed out and reports late has no open span any more."""
        if isinstance(trace := self.items.get(item), Trace):
            for call in trace.calls[-1:]:
                if call.attempt == attempt:
                    call.used(usage)
        self.metrics.used(stage, usage)

    def cached(self, item: ItemView, stage: str, saved: Usage) -> None:
        """Add an event to the item's span, with the usage that was saved."""
        if isinstance(trace := self.items.get(item), Trace):
            trace.cached(stage, saved)
        self.metrics.cached(stage)

    def sent_back(self, item: ItemView, stage: str, to: str) -> None:
        """Add an event to the item's span."""
        if isinstance(trace := self.items.get(item), Trace):
            trace.sent_back(stage, to)
        self.metrics.sent_back(stage, to)

    def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
        """End the item's span, and the span of a call that was cut off."""
        trace = self.items.setdefault(item, outcome)
        if isinstance(trace, Trace):
            del self.items[item]
            self._end_call(trace, None, names.CANCELLED)
            trace.end(outcome, texts=self._texts)
        self.metrics.ended(outcome, texts=self._texts)

    def _end_call(self, trace: Trace, error: BaseException | None, status: str) -> None:
        try:
            call = trace.calls.pop()
        except IndexError:
            return
        kind: str | None = None
        if status == names.CANCELLED:
            kind, error = names.CANCELLED, None
        elif error is not None:
            kind = names.error_type(error)
        seconds = call.end(error, status, texts=self._texts)
        self.metrics.called(call.stage, seconds, kind, again=status == "retried")


def _version() -> str:
    try:
        return version("rxpipe")
    except PackageNotFoundError:  # a checkout that is not installed
        return ""
