"""``rxpipe preview``: a few items, one after the other, with the input and output of each stage."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reactivex import Observable
from reactivex.abc import ObserverBase
from rich.console import Console
from rich.text import Text

from rxpipe.cli.commands.preview_children import MOST, ChildCounts, FirstOnes, first_ones, scaled
from rxpipe.cli.messages import ExitCode, configure_logs, raised_text, tell_error
from rxpipe.config import load_config
from rxpipe.config.build import pipeline_of
from rxpipe.config.field_fits import check_source_fields
from rxpipe.config.sources import read_source
from rxpipe.database.encoding import json_text
from rxpipe.errors import ConfigError
from rxpipe.foresight import CallRecorder, Forecast, RecordedRun, simulate
from rxpipe.operators.core.running_call import Usage
from rxpipe.operators.errors import describe
from rxpipe.operators.stage import is_coroutine_function
from rxpipe.pipeline.blocking import run_blocking
from rxpipe.pipeline.children import Children
from rxpipe.pipeline.decisions import Drop, SendBack, item_ids
from rxpipe.pipeline.outcome import Outcome, Report
from rxpipe.pipeline.pipeline import Pipeline
from rxpipe.pipeline.source import length
from rxpipe.pipeline.stage import Stage
from rxpipe.pipeline.transcript import Exchange, listener
from rxpipe.questions.seen_texts import seen_on_copies
from rxpipe.screen.terminal import SafeConsole, hanging
from rxpipe.screen.texts import cost, cost_unit, duration, number, plural, screen_text, tokens, used

_ENDS = {"written": "would be written", "expanded": "has been expanded"}
_WORTH_TELLING = 10.0  # seconds; in shorter runs calls are not most of the time
_LONGEST = 20_000  # characters that are shown of a text


def preview(path: Path, count: int) -> ExitCode:
    """Take a few IDs through the stages and show everything. Nothing is written.

    Args:
        path: The config.
        count: How many IDs, at least 1.

    Returns:
        The exit code of the program.

    Raises:
        ConfigError: The config or its source cannot be used. Nothing was called.
    """
    configure_logs()
    config = load_config(path)
    script = _Script(SafeConsole())
    with redirect_stdout(sys.stderr):  # keeps the functions' own output apart
        pipeline = pipeline_of(config)
        total = None if config.source.call else length(read_source(config))
        recorder = CallRecorder()
        watched = Pipeline(
            *(replace(stage, call=_watched(stage, script), executor=None, cache=False) for stage in pipeline.stages),
            strategy="per_item",
            scheduler=pipeline.scheduler,
            concurrency=1,  # so that the output is of one item at a time
            listeners=[recorder],
        )
        try:
            source = read_source(config, count=count)
            check_source_fields(config, source)
            with seen_on_copies():
                report = run_blocking(watched, source, observer=script)
        except Exception as error:  # noqa: BLE001 - any error that ends a run is reported
            tell_error(f"the preview ended early: {raised_text(error, config.folder)}")
            return ExitCode.FAILED
    record = recorder.record()
    whole = replace(record, children={**record.children, **script.children.by_stage})
    usage = script.children.usage(pipeline.stages, [stage.usage for stage in report.stages])
    script.end(report, total, usage, _forecast(pipeline, total, whole))
    return ExitCode.FAILED if report.failed else ExitCode.OK


def _forecast(pipeline: Pipeline, total: int | None, record: RecordedRun) -> Forecast | None:
    """Forecast the whole run from the calls of a few items; None if these calls say nothing."""
    if not total:
        return None
    try:
        return simulate(pipeline, count=total, record=record)
    except (ConfigError, TypeError):  # a stage that no item reached, or a limiter with its own time
        return None


@dataclass(slots=True)
class _Call:
    """One watched call."""

    stage: str
    value: Any
    result: Any = None
    exchanges: list[Exchange] = field(default_factory=list[Exchange])
    ids: list[int | str] = field(default_factory=item_ids)


def _watched(stage: Stage, script: _Script) -> Callable[[Any], Any]:
    """Returns the stage's function with its calls added to the script."""
    function = stage.call

    async def watched_coroutine(value: Any) -> Any:
        return await watched_awaitable(value, function(value))

    async def watched_awaitable(value: Any, awaitable: Any) -> Any:
        with script.watching(_Call(stage.name, value)) as call:
            result = await awaitable
            if stage.expand and not isinstance(result, FirstOnes):
                result = first_ones(result)
                result = await result if inspect.isawaitable(result) else result
            call.result = result
        return call.result

    def watched(value: Any) -> Any:
        with script.watching(_Call(stage.name, value)) as call:
            result = function(value)
            is_many = stage.expand and (isinstance(result, Observable) or not inspect.isawaitable(result))
            call.result = first_ones(result) if is_many else result
        is_pending = inspect.isawaitable(call.result)
        return watched_awaitable(value, call.result) if is_pending else call.result

    return watched_coroutine if is_coroutine_function(function) else watched


class _Script(ObserverBase[Outcome[Any]]):
    """Writes events as they happen, to the standard output of the time when the script was made."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._console.file = console.file  # otherwise it would follow redirected standard output
        self._items = 0
        self._is_between = True
        self.children = ChildCounts()
        self._heading: list[int | str] = []
        self._called: dict[str, set[int | str]] = {}

    @contextmanager
    def watching(self, call: _Call) -> Generator[_Call]:
        """Show a call when it has ended. A call that returned an awaitable is not shown here."""
        if self._is_between:
            self._is_between = False
            self._items += 1
            self._heading = call.ids
            self._console.rule(Text(f"item {self._items}: ID {_ids(call.ids)}", style="bold"))
        self._called.setdefault(call.stage, set()).update(call.ids)
        began = time.perf_counter()
        token = listener.set(call.exchanges.append)
        error: BaseException | None = None
        try:
            yield call
        except BaseException as raised:
            error = raised
            raise
        finally:
            listener.reset(token)
            if not inspect.isawaitable(call.result):
                self._show(call, error, time.perf_counter() - began)

    def _show(self, call: _Call, error: BaseException | None, seconds: float) -> None:
        of = "" if call.ids == self._heading else f" of {_ids(call.ids)}"
        self._console.print(Text(f"\n{screen_text(call.stage)}{of}, {duration(seconds)}", style="bold cyan"))
        self._part("input", _pretty(_plain(call.value)))
        for exchange in call.exchanges:
            for message in exchange.messages:
                content: Any = message.get("content")  # text, parts, or nothing
                self._part(str(message.get("role")), content if isinstance(content, str) else _pretty(content), "dim")
            about = "" if exchange.usage is None else f", {used(exchange.usage)}"
            self._part(f"reply{about}", exchange.reply, "dim")
        decision = error if error is not None else call.result
        if isinstance(decision, Drop):
            self._part("dropped", decision.reason or "(no reason given)", "yellow")
        elif isinstance(decision, SendBack):
            self._part(f"sent back to {screen_text(decision.stage)}", _pretty(decision.feedback), "yellow")
        elif error is None:
            told = f", {call.result.told}" if isinstance(call.result, FirstOnes) else ""
            if isinstance(call.result, FirstOnes):
                self.children.add(call.stage, call.ids[0], call.result)
            self._part(f"output{_class_of(call.result)}{told}", _pretty(call.result), "green")
        else:
            is_cancelled = isinstance(error, asyncio.CancelledError)
            why = (
                "cancelled: it took longer than it may, or the preview was stopped" if is_cancelled else describe(error)
            )
            self._part("failed", why, "bold red")

    def _part(self, title: str, text: str, style: str = "") -> None:
        self._console.print(Text(f"  {title}:", style="bold"), soft_wrap=True)
        left = len(text) - _LONGEST
        shown = text if left <= 0 else f"{text[:_LONGEST]}…\n({plural(left, 'character')} more)"
        for line in screen_text(shown).split("\n"):
            self._console.print(hanging(self._console, Text("    "), line, style), soft_wrap=True)

    def end(self, report: Report, total: int | None, whole: Usage, forecast: Forecast | None) -> None:
        """Print the summary: the errors, or else what the whole run would use and take.

        Args:
            report: The report of the preview.
            total: How many items the source has.
            whole: What these items would have used with all their children, as far as known.
            forecast: The forecast of the whole run.
        """
        self._console.rule()
        ends = {"spawned": report.spawned, "failed": report.failed, "dropped": report.dropped}
        failed = "".join(f", {number(count)} {name}" for name, count in ends.items() if count)
        usage = f", {used(report.usage)}" if report.usage.tokens else ""
        self._console.print(f"{plural(report.taken, 'item')}{failed}{usage}; nothing was written")
        for stage in report.stages:
            called = len(self._called.get(stage.name, ()))
            if called < report.taken and not (called and report.spawned):
                self._console.print(
                    f"{screen_text(stage.name)} was called with {number(called)} of {number(report.taken)}"
                )
        if report.failed:  # last, so that users see them; a forecast without the failed items says little
            for error in report.errors:
                text = f"{plural(error.count, 'item')} failed in {error.stage}: {error.text}"
                self._console.print(Text(screen_text(text), style="bold red"), soft_wrap=True)
            return
        self._tell_of_all(report, total, whole, forecast)

    def _tell_of_all(self, report: Report, total: int | None, whole: Usage, forecast: Forecast | None) -> None:
        """Say what all items would use and take."""
        if total and report.taken and whole.tokens:
            use = scaled(whole, total / report.taken)
            money = f", cost {cost(use.cost)}" if use.cost else ""
            about = f"{tokens(use.tokens)} tokens{money}"
            such = "" if self.children.are_known else f" with {MOST} children each"
            self._console.print(f"{plural(total, 'item')}{such} would use about {about}{cost_unit(report.usage)}")
        if total and forecast is not None and forecast.seconds.high >= _WORTH_TELLING:
            low, middle, high = (duration(getattr(forecast.seconds, name)) for name in ("low", "middle", "high"))
            self._console.print(f"{plural(total, 'item')} would take about {middle} ({low} to {high})")

    def on_next(self, value: Outcome[Any]) -> None:
        """Note that an item has ended. Its children end before the item, and are shown with it."""
        self._is_between = value.parent is None
        if value.parent is not None:
            why = "" if value.error is None else f": {screen_text(str(value.error))}"
            ended = f"\n{screen_text(str(value.id))} {_ENDS.get(value.status, value.status)}{why}"
            self._console.print(Text(ended, style="bold"), soft_wrap=True)

    def on_error(self, error: Exception) -> None:
        """Do nothing: the caller of the run gets the error."""

    def on_completed(self) -> None:
        """Do nothing."""


def _ids(ids: Sequence[int | str]) -> str:
    more = f" and {number(len(ids) - MOST)} more" if len(ids) > MOST else ""
    return ", ".join(screen_text(str(one)) for one in ids[:MOST]) + more


def _class_of(result: Any) -> str:
    """Returns the class of a stage's result in brackets; an empty text for plain data, which shows its type."""
    value: object = next(iter(result), None) if isinstance(result, FirstOnes) else result
    kind = type(value)
    return "" if kind.__module__ == "builtins" else f" ({screen_text(kind.__name__)})"


def _plain(value: Any) -> Any:
    """Returns a function's input as data. Children are shown with how each one ended."""
    given: object = value  # for the type checkers, which do not know the type of the content
    if not isinstance(given, Children):
        return value
    return [
        {"id": one.id, "status": one.status, **({"value": one.value} if one.error is None else {"why": str(one.error)})}
        for one in value
    ]


def _pretty(value: Any) -> str:
    try:
        return json.dumps(json.loads(json_text(value)), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return repr(value)
