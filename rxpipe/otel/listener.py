"""``OpenTelemetry``: what is told of items and calls, as spans and metrics."""

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

    While a function runs, the span of its call is the current one: spans that it starts, or that an instrumented HTTP
    client starts in it, are below it. The span of an item is below that of the request or message that submitted it,
    where the pipeline is open; else below that in which the run was started. The span of a child is below its parent's.

    It may be given to several pipelines. What functions get and return is never told; see docs/observability.md.

    Attributes:
        items: Items on their way, and their traces; of one that ended before this was told that it was taken, how.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        error_texts: bool = True,
    ) -> None:
        """Tell of items and calls.

        Args:
            tracer_provider: Makes spans; the global one by default.
            meter_provider: Collects metrics; by default what is the global one when the first run starts.
            error_texts: Whether spans of what failed have the error's text and traceback, and those of dropped items
                the reason, which is an attribute of metrics, too. These may quote what the function worked on;
                without, spans have the error's type only.
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
        """What is counted and measured; made when it is first asked for."""
        if (metrics := self._metrics) is None:
            with self._making_metrics:
                metrics = self._metrics = self._metrics or Metrics(
                    self._meter_provider or get_meter_provider(), self._version
                )
        return metrics

    def wrapped(self, stage: Stage, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The stage's function, for which its call's span is the current one."""
        return inside(stage, call, self._enter)

    def _enter(self, item: ItemView) -> Undo | None:
        trace = self.items.get(item)
        calls = trace.calls[-1:] if isinstance(trace, Trace) else ()
        if not calls:
            return None
        token = contexts.attach(calls[0].context)
        return lambda: contexts.detach(token)

    def run_started(self, run: RunView) -> None:
        """Observe its stages."""
        self.metrics.runs.add(run)

    # An item may end on one thread while another begins a call with it, or even takes it, where a run is disposed of.
    # Each step is one that no thread can come between, and looks afterwards whether it came too late.

    def taken(self, item: ItemView) -> None:
        """Start the item's span; that of a child is below its parent's."""
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
        """Add it to the call's; of one that timed out, and has told only now, the span has ended."""
        if isinstance(trace := self.items.get(item), Trace):
            for call in trace.calls[-1:]:
                if call.attempt == attempt:
                    call.used(usage)
        self.metrics.used(stage, usage)

    def cached(self, item: ItemView, stage: str, saved: Usage) -> None:
        """An event of the item's span, with what was saved."""
        if isinstance(trace := self.items.get(item), Trace):
            trace.cached(stage, saved)
        self.metrics.cached(stage)

    def sent_back(self, item: ItemView, stage: str, to: str) -> None:
        """An event of the item's span."""
        if isinstance(trace := self.items.get(item), Trace):
            trace.sent_back(stage, to)
        self.metrics.sent_back(stage, to)

    def ended(self, item: ItemView, outcome: Outcome[Any]) -> None:
        """End the item's span, and that of a call that was cut off."""
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
