"""A span for each item, and below it a span for each of its calls."""

from __future__ import annotations

import traceback
from time import perf_counter
from typing import Any

from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, Tracer, set_span_in_context

from rxpipe.errors import ItemCancelled
from rxpipe.operators.core.running_call import Usage
from rxpipe.otel import attributes as names
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.views import ItemView

ITEM = "rxpipe.item"


class Call:
    """A running call: its span, and the context in which that span is the current one.

    Attributes:
        stage: The stage's name.
        attempt: The number of the stage's attempt with this item, from 1.
        context: The context for the function.
    """

    __slots__ = ("_began", "_span", "_usage", "attempt", "context", "stage")

    def __init__(self, tracer: Tracer, parent: Context, item_id: str, stage: str, attempt: int) -> None:
        self.stage = stage
        self.attempt = attempt
        self._usage: Usage | None = None
        self._span = tracer.start_span(
            stage, parent, attributes={names.ITEM_ID: item_id, names.STAGE: stage, names.ATTEMPT: attempt}
        )
        self.context = set_span_in_context(self._span, parent)
        self._began = perf_counter()

    def used(self, usage: Usage) -> None:
        """Add to the call's usage."""
        self._usage = usage if self._usage is None else self._usage + usage

    def end(self, error: BaseException | None, status: str, *, texts: bool) -> float:
        """End the call's span.

        Args:
            error: The error, if the call failed.
            status: How the call ended; see ``call_status``.
            texts: True if the span may have the error's text.

        Returns:
            The call's duration in seconds.
        """
        seconds = perf_counter() - self._began
        span = self._span
        if span.is_recording():
            span.set_attribute(names.CALL_STATUS, status)
            if self._usage is not None:
                span.set_attributes(_used(self._usage))
            if error is not None:
                _failed(span, error, texts=texts, in_full=True)
        span.end()
        return seconds


class Trace:
    """An item on its way: its span, and its calls.

    Attributes:
        context: The context in which the item's span is the current one.
        calls: The running call, if any. Whoever ends the call removes it from the list first, so only one does.
        failed_with: The error of the last call, if it failed.
    """

    __slots__ = ("_at", "_before", "_id", "_rounds", "_span", "_tracer", "calls", "context", "failed_with")

    def __init__(self, tracer: Tracer, item: ItemView, above: Context | None = None) -> None:
        """Start the item's span.

        Args:
            tracer: Makes spans.
            item: The item.
            above: The context of the parent item; None to use the context that the item was submitted in.
        """
        # A copy, as only one thread at a time can enter a context.
        if above is None and item.context is not None:
            above = item.context.copy().run(contexts.get_current)
        self._tracer = tracer
        self._id = names.encodable(str(item.id))
        attributes = {names.ITEM_ID: self._id}
        if item.parent is not None:
            attributes[names.PARENT_ID] = names.encodable(str(item.parent.id))
        self._span = tracer.start_span(ITEM, above, attributes=attributes)
        self.context = set_span_in_context(self._span, above)
        self._at: tuple[str, int] | None = None
        self._before = 0
        self._rounds = 0
        self.calls: list[Call] = []
        self.failed_with: BaseException | None = None

    def begin(self, item: ItemView, stage: str) -> None:
        """Start the span of a call."""
        if (stage, item.rounds) != self._at:
            self._at, self._before = (stage, item.rounds), item.attempts - 1
            self._rounds = item.rounds
        self.calls.append(Call(self._tracer, self.context, self._id, stage, item.attempts - self._before))

    def cached(self, stage: str, saved: Usage) -> None:
        """Add an event: the item got the result of an earlier call, which had this usage."""
        self._span.add_event(names.CACHED, {names.STAGE: stage, **_used(saved)})

    def sent_back(self, stage: str, to: str) -> None:
        """Add an event: a stage has sent the item back to another stage."""
        self._span.add_event(names.SENT_BACK, {names.STAGE: stage, names.SENT_BACK_TO: to})

    def end(self, outcome: Outcome[Any], *, texts: bool) -> None:
        """End the item's span."""
        span = self._span
        if span.is_recording():
            span.set_attribute(names.ITEM_STATUS, outcome.status)
            span.set_attribute(names.ITEM_CALLS, outcome.attempts)
            if self._rounds:
                span.set_attribute(names.ITEM_ROUNDS, self._rounds)
            if outcome.status == "dropped":
                if outcome.stage is not None:
                    span.set_attribute(names.STAGE, outcome.stage)
                if texts and outcome.error is not None:
                    span.set_attribute(names.DROP_REASON, names.message(outcome.error))
            if outcome.status == "failed" and outcome.error is not None:
                if outcome.stage is not None:
                    span.set_attribute(names.STAGE, outcome.stage)
                # With text and traceback only if no call's span has them: a refused row, an unreadable checkpoint.
                _failed(span, outcome.error, texts=texts, in_full=outcome.error is not self.failed_with)
        span.end()


def call_status(error: BaseException | None, *, again: bool) -> str:
    """Returns how a call ended: ``returned``, ``retried``, ``failed`` or ``cancelled``."""
    if error is None:
        return "returned"
    if isinstance(error, ItemCancelled):
        return names.CANCELLED
    return "retried" if again else "failed"


def _used(usage: Usage) -> dict[str, int | float]:
    used: dict[str, int | float] = {}
    if usage.tokens:
        used = {names.INPUT_TOKENS: usage.prompt_tokens, names.OUTPUT_TOKENS: usage.completion_tokens}
    return {**used, names.COST: usage.cost} if usage.cost else used


def _failed(span: Span, error: BaseException, *, texts: bool, in_full: bool) -> None:
    kind = names.error_type(error)
    span.set_attribute(names.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, names.description(error) if texts else kind))
    if in_full:
        # Like Span.record_exception, which fails where the error's own str does.
        event = {"exception.type": kind}
        if texts:
            event["exception.message"] = names.message(error)
            event["exception.stacktrace"] = names.encodable("".join(traceback.format_exception(error)))
        span.add_event("exception", event)
