"""A span for each item, and below it one for each of its calls."""

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
    """A call that runs: its span, and the context in which that is the current one.

    Attributes:
        stage: The stage's name.
        attempt: The stage's so many-th with this item.
        context: For what the function does.
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
        """It has used this."""
        self._usage = usage if self._usage is None else self._usage + usage

    def end(self, error: BaseException | None, status: str, *, texts: bool) -> float:
        """It has ended.

        Args:
            error: With what, if it failed.
            status: How.
            texts: Whether what the error says may be told.

        Returns:
            Seconds that it took.
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
        context: That in which its span is the current one.
        calls: The one that runs, if one does. Whoever ends it takes it out first: so only one does.
        failed_with: What the last call failed with.
    """

    __slots__ = ("_at", "_before", "_id", "_rounds", "_span", "_tracer", "calls", "context", "failed_with")

    def __init__(self, tracer: Tracer, item: ItemView, above: Context | None = None) -> None:
        """Start its span.

        Args:
            tracer: Makes spans.
            item: The item.
            above: Of its parent; None to go by where the item comes from.
        """
        # A copy, as a context can be entered by one thread at a time only.
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
        """A call begins."""
        if (stage, item.rounds) != self._at:
            self._at, self._before = (stage, item.rounds), item.attempts - 1
            self._rounds = item.rounds
        self.calls.append(Call(self._tracer, self.context, self._id, stage, item.attempts - self._before))

    def cached(self, stage: str, saved: Usage) -> None:
        """It got the result of an earlier call, which had used this."""
        self._span.add_event(names.CACHED, {names.STAGE: stage, **_used(saved)})

    def sent_back(self, stage: str, to: str) -> None:
        """A stage has sent it back to another one."""
        self._span.add_event(names.SENT_BACK, {names.STAGE: stage, names.SENT_BACK_TO: to})

    def end(self, outcome: Outcome[Any], *, texts: bool) -> None:
        """It has ended."""
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
                # In full only if no call has: a row that was refused, a checkpoint that could not be read.
                _failed(span, outcome.error, texts=texts, in_full=outcome.error is not self.failed_with)
        span.end()


def call_status(error: BaseException | None, *, again: bool) -> str:
    """How a call has ended."""
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
        # What Span.record_exception does, but that fails where the error's own str does.
        event = {"exception.type": kind}
        if texts:
            event["exception.message"] = names.message(error)
            event["exception.stacktrace"] = names.encodable("".join(traceback.format_exception(error)))
        span.add_event("exception", event)
