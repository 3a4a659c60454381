"""The counters and histograms of each stage."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from rxpipe.operators.core.running_call import Usage
from rxpipe.otel import attributes as names
from rxpipe.pipeline.outcome import Outcome
from rxpipe.pipeline.views import RunView, StageView

# Bucket bounds in seconds, which the conventions want for calls to language models.
_CALLS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_ITEMS = (*_CALLS, 163.84, 327.68, 655.36, 1310.72)

_REASONS = 100  # different reasons of drops that are counted apart


class Runs:
    """The runs whose stages are observed.

    OpenTelemetry reads them when metrics are collected; in between they cost nothing.
    """

    def __init__(self) -> None:
        self._runs: WeakSet[RunView] = WeakSet()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: RunView) -> None:
        """Observe a run until it is over."""
        with self._lock:
            self._runs.add(run)
        run.finished.add_done_callback(lambda _: self._remove(run))

    def _remove(self, run: RunView) -> None:
        with self._lock:
            self._runs.discard(run)

    def observe(self, count: Callable[[StageView], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Returns the callback of an instrument: a count for each stage. Stages of the same name are added up."""

        def callback(options: CallbackOptions) -> Iterable[Observation]:
            with self._lock:
                runs = list(self._runs)
            counts: Counter[str] = Counter()
            for run in runs:
                for stage in run.stages:
                    counts[stage.name] += max(0, count(stage))  # the parts of a count are read one after the other
            return [Observation(value, {names.STAGE: stage}) for stage, value in counts.items()]

        return callback


class _Observed:
    """The runs of each meter provider. A provider keeps the first callback of an instrument, and drops later ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: WeakKeyDictionary[MeterProvider, Runs] = WeakKeyDictionary()

    def of(self, provider: MeterProvider) -> Runs:
        with self._lock:
            return self._runs.setdefault(provider, Runs())


_OBSERVED = _Observed()


class Metrics:
    """The instruments.

    Attributes:
        runs: The runs whose stages are observed.
    """

    def __init__(self, provider: MeterProvider, version: str) -> None:
        meter = provider.get_meter("rxpipe", version)
        self.runs = runs = _OBSERVED.of(provider)
        self._calls = meter.create_histogram(
            "rxpipe.stage.duration",
            unit="s",
            description="Duration of calls of stages",
            explicit_bucket_boundaries_advisory=_CALLS,
        )
        self._retries = meter.create_counter(
            "rxpipe.stage.retries", unit="{call}", description="Failed calls that another call follows"
        )
        self._tokens = meter.create_counter(
            "rxpipe.stage.tokens", unit="{token}", description="Tokens that calls reported with record_usage"
        )
        self._cost = meter.create_counter(
            "rxpipe.stage.cost", unit="1", description="Cost of calls, in the currency of the prices"
        )
        self._cached = meter.create_counter(
            "rxpipe.stage.cached", unit="{item}", description="Items that got the result of an earlier call"
        )
        self._sent_back = meter.create_counter(
            "rxpipe.stage.sent_back",
            unit="{item}",
            description="Number of times that items were sent back to an earlier stage",
        )
        self._reasons: set[str] = set()
        self._items = meter.create_histogram(
            "rxpipe.item.duration",
            unit="s",
            description="Duration of items, from when they are taken or made until they end",
            explicit_bucket_boundaries_advisory=_ITEMS,
        )
        self._ended = meter.create_counter("rxpipe.items", unit="{item}", description="Items that have ended")
        meter.create_observable_up_down_counter(
            "rxpipe.stage.running",
            [runs.observe(lambda stage: stage.running)],
            unit="{call}",
            description="Calls that run now",
        )
        meter.create_observable_up_down_counter(
            "rxpipe.stage.waiting",
            [runs.observe(lambda stage: stage.waiting)],
            unit="{item}",
            description="Items that wait for a slot of the stage, a limit or their next attempt",
        )

    def called(self, stage: str, seconds: float, error: str | None, *, again: bool) -> None:
        """Record a call that has ended, with the type of its error, if any."""
        attributes = {names.STAGE: stage}
        if error is not None:
            attributes[names.ERROR_TYPE] = error
        self._calls.record(seconds, attributes)
        if again:
            self._retries.add(1, attributes)

    def used(self, stage: str, usage: Usage) -> None:
        """Count the usage of a call."""
        for kind, tokens in (("input", usage.prompt_tokens), ("output", usage.completion_tokens)):
            if tokens:
                self._tokens.add(tokens, {names.STAGE: stage, names.TOKEN_TYPE: kind})
        if usage.cost:
            self._cost.add(usage.cost, {names.STAGE: stage})

    def cached(self, stage: str) -> None:
        """Count an item that got the result of an earlier call."""
        self._cached.add(1, {names.STAGE: stage})

    def sent_back(self, stage: str, to: str) -> None:
        """Count an item that a stage has sent back to another stage."""
        self._sent_back.add(1, {names.STAGE: stage, names.SENT_BACK_TO: to})

    def _reason(self, error: BaseException) -> str:
        """Returns the reason of a drop. Each reason is a time series, so all reasons beyond a limit share one."""
        reason = names.message(error)
        if len(self._reasons) < _REASONS:
            self._reasons.add(reason)
        return reason if reason in self._reasons else names.OTHER

    def ended(self, outcome: Outcome[Any], *, texts: bool = True) -> None:
        """Count an item that has ended. With ``texts``, the reason of a drop is an attribute."""
        attributes: dict[str, str] = {names.ITEM_STATUS: outcome.status}
        if outcome.status in ("failed", "dropped") and outcome.error is not None:
            if outcome.status == "failed":
                attributes[names.ERROR_TYPE] = names.error_type(outcome.error)
            elif texts:
                attributes[names.DROP_REASON] = self._reason(outcome.error)
            if outcome.stage is not None:
                attributes[names.STAGE] = outcome.stage
        self._ended.add(1, attributes)
        self._items.record(max(0.0, outcome.seconds), {names.ITEM_STATUS: outcome.status})
