"""What spans and metrics may tell, and what they must not."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from otel_helpers import Telemetry, status, told

from rxpipe import Drop, Pipeline, Stage
from rxpipe.errors import ConfigError
from rxpipe.otel import OpenTelemetry

SECRET = "s3cr3t"


@dataclass
class Answer:
    """What must stay between the stages."""

    text: str


def leaks(telemetry: Telemetry) -> bool:
    """Whether the secret is anywhere in what was told."""
    told_of_spans = json.dumps([span.to_json() for span in telemetry.spans])
    return SECRET in told_of_spans or SECRET in repr(telemetry.measured("rxpipe.stage.duration", "count"))


def test_values_are_not_told() -> None:
    """What functions get and return is in no attribute."""
    telemetry = Telemetry()
    stages: list[Stage] = [Stage("a", lambda _: Answer(SECRET)), Stage("b", lambda answer: {"text": answer.text})]
    assert Pipeline(*stages, listeners=[telemetry.listener]).run([1]).written == 1
    assert not leaks(telemetry)


@pytest.mark.parametrize("error_texts", [True, False])
def test_texts_of_errors(error_texts: bool) -> None:
    """They may quote a value, and are left out if that is wanted."""
    telemetry = Telemetry(error_texts=error_texts)

    def fail(value: Any) -> Any:
        raise ValueError(f"not a number: {SECRET}")

    Pipeline(Stage("a", fail), listeners=[telemetry.listener]).run([1])
    assert leaks(telemetry) == error_texts
    assert told(telemetry.only("a"))["error.type"] == "ValueError"
    (event,) = telemetry.only("a").events
    assert ("exception.stacktrace" in (event.attributes or {})) == error_texts


@pytest.mark.parametrize("error_texts", [True, False])
def test_reasons_of_drops(error_texts: bool) -> None:
    """They may quote a value as well."""
    telemetry = Telemetry(error_texts=error_texts)
    Pipeline(Stage("a", lambda _: Drop(f"no {SECRET}")), listeners=[telemetry.listener]).run([1])
    assert told(telemetry.only("rxpipe.item"))["rxpipe.item.status"] == "dropped"
    assert leaks(telemetry) == error_texts


class Unreadable(Exception):
    """Its text cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [Unreadable(), ValueError("\ud800"), ValueError("x" * 10_000)])
def test_odd_errors(error: Exception) -> None:
    """Whatever an error's text is, it can be exported, and a status is no longer than it may be."""
    telemetry = Telemetry()

    def fail(value: Any) -> Any:
        raise error

    Pipeline(Stage("a", fail), listeners=[telemetry.listener]).run([1])
    call = telemetry.only("a")
    text = str(status(call)[1])
    assert text.encode("utf-8")
    assert len(text) <= 1_000
    assert all(str(value).encode("utf-8") for value in (call.events[0].attributes or {}).values())


@pytest.mark.parametrize(("item_id", "shown"), [(1 << 70, str(1 << 70)), ("\ud800", "\\ud800"), (-1, "-1")])
def test_ids_are_texts(item_id: int | str, shown: str) -> None:
    """Exporters know no numbers of more than 64 bits, and backends no attribute that is now a number, now a text."""
    telemetry = Telemetry()
    Pipeline(Stage("a", lambda value: value), listeners=[telemetry.listener]).run([item_id])
    assert {told(span)["rxpipe.item.id"] for span in telemetry.spans} == {shown}


def test_providers_are_the_global_ones() -> None:
    """With none given, and none set up, nothing is made of anything, and pipelines run."""
    listener = OpenTelemetry()
    assert Pipeline(Stage("a", lambda value: value), listeners=[listener]).run([1]).written == 1
    assert not listener.items


def test_provider_that_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener may be made before the global provider is set, as at the top of a module."""
    listener = OpenTelemetry()
    made: list[str] = []
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    monkeypatch.setattr(provider, "_active_span_processor", _Noting(made))
    Pipeline(Stage("a", lambda value: value), listeners=[listener]).run([1])
    assert made == ["rxpipe.item", "a"]


class _Noting:
    """Notes spans that start."""

    def __init__(self, made: list[str]) -> None:
        self._made = made

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self._made.append(span.name)

    def on_end(self, span: Any) -> None:
        """It is noted already."""

    def _on_ending(self, span: Any) -> None:
        """It is noted already."""


def test_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without OpenTelemetry, an import says which extra has it."""
    for module in [name for name in sys.modules if name.startswith(("rxpipe.otel", "opentelemetry"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError, match='the extra otel: pip install "opentelemetry-api>='):
        importlib.import_module("rxpipe.otel")
